//! `traffic`: one end of the traffic that cases check and `bed bench` measures.
//! It is static, and mounted into containers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use e2e::traffic::{PORT, Server, await_server, call, datagrams, echo};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match act(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("traffic: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(words: &[&str]) -> Result<()> {
    match words {
        ["serve"] => {
            let server = Server::bind((Ipv6Addr::UNSPECIFIED, PORT).into())?;
            server.join_group();
            server.run()
        }
        ["call"] => call(),
        ["echo", to, length] => {
            let to = address(to)?;
            await_server(to)?;
            echo(to, length.parse().context("a number of bytes")?)
        }
        ["datagrams", to, lengths @ ..] => {
            let lengths: Result<Vec<_>, _> = lengths.iter().map(|word| word.parse()).collect();
            datagrams(address(to)?, &lengths.context("numbers of bytes")?)
        }
        _ => bail!("serve | call | echo ADDRESS BYTES | datagrams ADDRESS BYTES..."),
    }
}

/// `ADDRESS`, where a server listens in a pod, or `ADDRESS:PORT`.
fn address(text: &str) -> Result<SocketAddr> {
    if let Ok(whole) = text.parse() {
        return Ok(whole);
    }
    let address: Result<IpAddr, _> = text.parse();
    let address = address.with_context(|| format!("{text:?} is no address"))?;
    Ok((address, PORT).into())
}
