//! Prints what this host offers, and how long it took to find out.

use std::time::Instant;

fn main() {
    for _ in 0..5 {
        let began = Instant::now();
        let verdict = probe::kvm();
        let took = began.elapsed();
        match verdict {
            Ok(report) => println!("kvm: {report:?} ({took:?})"),
            Err(why) => println!("kvm: {why} ({took:?})"),
        }
    }
    println!("mshv: {}", probe::mshv());
    println!("vhost-net: {}", probe::vhost_net());
    println!("vhost-vsock: {}", probe::vhost_vsock());
}
