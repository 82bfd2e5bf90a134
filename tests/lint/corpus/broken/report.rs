use std::env;

fn main() {
    let peer = env::var("TCPREMOTEIP").expect("no peer");
    let path = format!("/var/seen/{}", peer); // expect: noncanonical-key


    println!("{}:{}", peer, env::var("TCPREMOTEPORT").unwrap()); // expect: host-port-colon-join
    println!("{}", path);
}
