use std::env;
use std::net::Ipv4Addr;

fn main() {
    let remote = env::var("TCPREMOTEIP").unwrap_or_else(|_| "0.0.0.0".to_string()); // expect: sentinel-fallback
    let port = env::var("TCPREMOTEPORT").unwrap_or_default();

    let octets: Vec<&str> = remote.split('.').collect(); // expect: dot-split


    if remote.starts_with("10.") { // expect: prefix-string-match
        return;
    }

    if remote == "127.0.0.1" { // expect: string-equality-allowlist
        return;
    }

    let four = remote.parse::<Ipv4Addr>(); // expect: inet-aton-family

    println!("{:?} {:?} {}", octets, four, port);
}
