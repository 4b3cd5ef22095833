//! The client: checks what comes back, or measures how it comes.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{GROUP, PORT, Wish, pattern};
use crate::harness::patient;

/// How long a connection may take, and what is on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than an answer takes: two more tries are in it.
const FILTERED: Duration = Duration::from_secs(4);

const CHUNK: usize = 128 * 1024;

fn dial(to: SocketAddr, wish: Wish) -> Result<TcpStream> {
    let connected = TcpStream::connect_timeout(&to, PATIENCE);
    let mut stream = connected.with_context(|| format!("connect to {to}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[wish as u8])?;
    Ok(stream)
}

/// Whether somebody answers at `port`. A packet that is dropped has no answer, so
/// it is waited for, and not long.
///
/// # Errors
///
/// `address` is none.
pub fn is_open(address: &str, port: u16) -> Result<bool> {
    let ip: IpAddr = address.parse().context("an address")?;
    let connected = TcpStream::connect_timeout(&(ip, port).into(), patient(FILTERED));
    Ok(connected.is_ok())
}

/// Waits until the server at `to` answers.
///
/// # Errors
///
/// It does not.
pub fn await_server(to: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match dial(to, Wish::Echo) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Sends `length` bytes, and checks that they come back.
///
/// # Errors
///
/// Others come back, or none.
pub fn echo(to: SocketAddr, length: u64) -> Result<()> {
    let stream = dial(to, Wish::Echo)?;
    let mut sender = stream.try_clone()?;
    let sent = thread::spawn(move || -> Result<()> {
        let mut at = 0;
        while at < length {
            let end = length.min(at + CHUNK as u64);
            let piece: Vec<_> = (at..end).map(pattern).collect();
            sender
                .write_all(&piece)
                .with_context(|| format!("send byte {at}"))?;
            at = end;
        }
        Ok(sender.shutdown(Shutdown::Write)?)
    });
    let checked = check(stream, length);
    let sent = sent.join();
    checked?;
    sent.unwrap_or_else(|_| bail!("the sender panicked"))
}

fn check(mut stream: TcpStream, length: u64) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let read = stream.read(&mut buffer);
        let read = read.with_context(|| format!("read byte {at} of {length}"))?;
        if read == 0 {
            ensure!(at == length, "{at} bytes of {length} came back");
            return Ok(());
        }
        for &byte in &buffer[..read] {
            ensure!(byte == pattern(at), "byte {at} is another one");
            at += 1;
        }
    }
}

/// Sends one datagram of each of `lengths`, and checks that it comes back.
///
/// # Errors
///
/// Another one comes back, or none, not even after several tries: datagrams may
/// be lost.
pub fn datagrams(to: SocketAddr, lengths: &[usize]) -> Result<()> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0_u16; 8].into(),
    };
    let socket = UdpSocket::bind((any, 0)).context("bind a UDP port")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    for &length in lengths {
        let sent: Vec<_> = (0..length as u64).map(pattern).collect();
        exchange(&socket, &sent).with_context(|| format!("a datagram of {length} bytes"))?;
    }
    Ok(())
}

fn exchange(socket: &UdpSocket, sent: &[u8]) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let deadline = Instant::now() + PATIENCE;
    loop {
        socket.send(sent).context("send it")?;
        match socket.recv(&mut buffer) {
            Ok(length) if buffer[..length] == *sent => return Ok(()),
            // The answer to an earlier one, asked twice for.
            Ok(length) if length != sent.len() => {}
            Ok(_) => bail!("it comes back changed"),
            Err(error) if Instant::now() > deadline => return Err(error).context("no answer"),
            Err(_) => {}
        }
    }
}

/// Sends a datagram to the group of servers, and waits until one sends it back.
///
/// # Errors
///
/// None does, not even after several tries.
pub fn call() -> Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).context("bind a UDP port")?;
    // A server beside the caller is in the group, too.
    socket.set_multicast_loop_v6(false)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let sent: Vec<_> = (0..1000).map(pattern).collect();
    let mut buffer = vec![0; 1 << 16];
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let to = (GROUP, PORT);
        socket
            .send_to(&sent, to)
            .with_context(|| format!("call {GROUP}"))?;
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            ensure!(buffer[..length] == sent, "it comes back changed");
            return Ok(());
        }
    }
    bail!("nobody of {GROUP} answers")
}

/// Bytes in a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    bytes: u64,
    time: Duration,
}

impl Rate {
    /// Millions of bytes in a second.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // For people.
    pub fn mb_per_second(self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64()
    }
}

/// Sends for `time`; the server says when it has all.
///
/// # Errors
///
/// The connection breaks.
pub fn send(to: SocketAddr, time: Duration) -> Result<Rate> {
    let mut stream = dial(to, Wish::Take)?;
    let buffer = vec![0; CHUNK];
    let (begin, mut bytes) = (Instant::now(), 0);
    while begin.elapsed() < time {
        bytes += stream.write(&buffer)? as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    let time = begin.elapsed();
    Ok(Rate { bytes, time })
}

/// Receives for `time`.
///
/// # Errors
///
/// The connection breaks.
pub fn receive(to: SocketAddr, time: Duration) -> Result<Rate> {
    let mut stream = dial(to, Wish::Give)?;
    let mut buffer = vec![0; CHUNK];
    let (begin, mut bytes) = (Instant::now(), 0);
    while begin.elapsed() < time {
        bytes += stream.read(&mut buffer)? as u64;
    }
    let time = begin.elapsed();
    Ok(Rate { bytes, time })
}

/// How long each of `count` questions of one byte takes until its answer, one
/// after the other on one connection.
///
/// # Errors
///
/// The connection breaks.
pub fn round_trips(to: SocketAddr, count: u32) -> Result<Vec<Duration>> {
    let mut stream = dial(to, Wish::Echo)?;
    let mut byte = [1];
    let mut times = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// How long `count` connections take, each with a question and its answer, one
/// after the other.
///
/// # Errors
///
/// One of them fails.
pub fn connections(to: SocketAddr, count: u32) -> Result<Duration> {
    let begin = Instant::now();
    for _ in 0..count {
        let mut stream = dial(to, Wish::Echo)?;
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
    }
    Ok(begin.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Server;

    #[test]
    fn what_is_served_is_what_is_asked_for() {
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = server.address;
        thread::spawn(|| server.run());
        await_server(to).unwrap();
        echo(to, 300_000).unwrap();
        datagrams(to, &[0, 1, 9000]).unwrap();
        let time = Duration::from_millis(5);
        assert!(send(to, time).unwrap().mb_per_second() > 0.0);
        assert!(receive(to, time).unwrap().mb_per_second() > 0.0);
        assert_eq!(round_trips(to, 3).unwrap().len(), 3);
        connections(to, 3).unwrap();
    }
}
