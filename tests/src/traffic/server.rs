//! The server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Context, Result};

use super::{GROUP, Wish};

const CHUNK: usize = 128 * 1024;

/// A server of connections and of datagrams, on one port.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
    datagrams: UdpSocket,
}

impl Server {
    /// Takes the port at `address`, or any if that is 0.
    ///
    /// # Errors
    ///
    /// Somebody else has it.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address);
        let listener = listener.with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr()?;
        let datagrams = UdpSocket::bind(address);
        let datagrams = datagrams.with_context(|| format!("bind {address} for datagrams"))?;
        Ok(Self {
            address,
            listener,
            datagrams,
        })
    }

    /// Joins the group of servers, if the network has IPv6.
    pub fn join_group(&self) {
        // The interface that the group's route leads to.
        let _ = self.datagrams.join_multicast_v6(&GROUP, 0);
    }

    /// Serves, for ever.
    ///
    /// # Errors
    ///
    /// No more connections are accepted.
    pub fn run(self) -> Result<()> {
        thread::spawn(move || echo_datagrams(&self.datagrams));
        for stream in self.listener.incoming() {
            let stream = stream.context("accept a connection")?;
            // The client sees that its connection ended; nobody else is to be told.
            thread::spawn(move || drop(fulfil(stream)));
        }
        Ok(())
    }
}

fn echo_datagrams(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        // The client asks again for what is lost.
        let _ = socket.send_to(&buffer[..length], from);
    }
}

fn fulfil(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wish = [0];
    stream.read_exact(&mut wish)?;
    let mut buffer = vec![0; CHUNK];
    match Wish::of(wish[0]) {
        Some(Wish::Echo) => loop {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..length])?;
        },
        Some(Wish::Take) => {
            while stream.read(&mut buffer)? > 0 {}
            stream.write_all(&[0])
        }
        Some(Wish::Give) => loop {
            stream.write_all(&buffer)?;
        },
        None => Ok(()),
    }
}
