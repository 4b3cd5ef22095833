//! Traffic between pods and what is around them, to check and to measure it. A
//! server echoes datagrams, and does on a connection what its first byte says;
//! the other end is a client here or in another pod.

mod client;
mod server;

use std::net::Ipv6Addr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use ctl::cri::v1::MountPropagation;

use crate::pod::{ContainerSpec, container};
pub use client::{
    Rate, await_server, call, connections, datagrams, echo, is_open, receive, round_trips, send,
};
pub use server::Server;

/// Where the server listens, for connections and datagrams.
pub const PORT: u16 = 9000;

/// A group that servers join where there is one to be joined (RFC 4291, 2.7: known
/// within a site, by no registry).
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x6b61, 0x7461);

/// The executable `traffic` in containers that have it.
pub const PROGRAM: &str = "/traffic";

/// What the server does on a connection: the first byte that it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Wish {
    /// It sends back what it gets.
    Echo = b'e',
    /// It takes all that comes, and sends one byte when no more does.
    Take = b't',
    /// It sends until nobody takes.
    Give = b'g',
}

impl Wish {
    fn of(byte: u8) -> Option<Self> {
        let all = [Self::Echo, Self::Take, Self::Give];
        all.into_iter().find(|wish| *wish as u8 == byte)
    }
}

/// A container called `name` in which the server runs, and [`PROGRAM`] can be run.
///
/// # Errors
///
/// `traffic` is not built.
pub fn server(name: &str) -> Result<ContainerSpec> {
    with_program(container(name, &[PROGRAM, "serve"]))
}

/// Has [`PROGRAM`].
///
/// # Errors
///
/// It is not beside the running executable.
pub fn with_program(spec: ContainerSpec) -> Result<ContainerSpec> {
    let private = MountPropagation::PropagationPrivate;
    Ok(spec.mount(&executable()?, PROGRAM, private, true))
}

/// The executable `traffic` of this build. It is static.
///
/// # Errors
///
/// It is not beside the running executable.
pub fn executable() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("find the running executable")?;
    let mut folders = executable.ancestors().skip(1);
    let found = folders.find_map(|folder| {
        let program = folder.join("traffic");
        program.is_file().then_some(program)
    });
    found.context("traffic is not beside this executable")
}

/// Byte number `index` of what is sent, so that no piece is like another.
fn pattern(index: u64) -> u8 {
    // Multiplication mixes into the upper bits.
    (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}
