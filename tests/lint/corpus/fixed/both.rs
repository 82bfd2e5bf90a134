use std::env;
use std::net::IpAddr;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = env::var("TCPREMOTEIP")?;
    let ip = text.split('%').next().unwrap_or(&text).parse::<IpAddr>()?.to_canonical();
    println!("{} {}", ip, ip.is_loopback()); // not text.split('.')
    Ok(())
}
