//! The host's end of one connection.

use super::backlog::Backlog;
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice, WriteVolatile};

/// The host takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostGone;

/// What reading from the host gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many octets, at least one.
    Bytes(usize),
    /// Nothing for now.
    Empty,
    /// Nothing any more.
    End,
}

/// Our end of a socket pair, never blocking.
#[derive(Debug)]
pub struct HostEnd {
    stream: UnixStream,
    backlog: Backlog,
    /// The socket took all it was given. Becomes true again by an event.
    writable: bool,
    shut_write: bool,
    shut_read: bool,
}

impl HostEnd {
    /// A new pair: ours, and the one for the shim. Neither blocks and both are
    /// closed on exec.
    ///
    /// # Errors
    /// Those of socketpair(2): too many open files, no memory.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let end = Self {
            stream: ours,
            backlog: Backlog::default(),
            writable: true,
            shut_write: false,
            shut_read: false,
        };
        Ok((end, theirs.into()))
    }

    /// The socket, to wait for events on.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Hands `payload` on: straight from guest memory as far as the socket
    /// takes it, the rest by way of the backlog. How many octets the socket
    /// took.
    ///
    /// # Errors
    /// [`HostGone`] when the host has closed its end.
    pub fn send<'m>(
        &mut self,
        payload: impl Iterator<Item = VolatileSlice<'m>>,
    ) -> Result<usize, HostGone> {
        let mut sent = 0;
        for slice in payload {
            let mut rest = slice;
            while self.writable && self.backlog.is_empty() && !rest.is_empty() {
                let written = self.try_write(|stream| volatile(stream.write_volatile(&rest)))?;
                sent += written;
                rest = rest.offset(written).map_err(|_| HostGone)?;
            }
            if !rest.is_empty() {
                self.backlog.push(&rest);
            }
        }
        Ok(sent)
    }

    /// The socket can take more: hands the backlog on. How many octets it took.
    ///
    /// # Errors
    /// [`HostGone`] when the host has closed its end.
    pub fn flush(&mut self) -> Result<usize, HostGone> {
        self.writable = true;
        let mut sent = 0;
        while self.writable && !self.backlog.is_empty() {
            let backlog = std::mem::take(&mut self.backlog);
            let written = self.try_write(|stream| stream.write_vectored(&backlog.pending()));
            self.backlog = backlog;
            let written = written?;
            self.backlog.pop(written);
            sent += written;
        }
        Ok(sent)
    }

    /// One write; 0 when the socket is full.
    fn try_write(
        &mut self,
        write: impl Fn(&mut &UnixStream) -> io::Result<usize>,
    ) -> Result<usize, HostGone> {
        match uninterrupted(|| write(&mut &self.stream)) {
            Ok(written) if written > 0 => Ok(written),
            Ok(_) => Ok(self.wait_for_room()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(self.wait_for_room()),
            Err(_) => Err(HostGone),
        }
    }

    fn wait_for_room(&mut self) -> usize {
        self.writable = false;
        0
    }

    /// Reads into guest memory. A host that closed its end with data of the
    /// guest unread (`ECONNRESET`) is at its end like any other.
    pub fn receive<'m>(&self, room: impl Iterator<Item = VolatileSlice<'m>>) -> Received {
        let mut received = 0;
        for mut slice in room {
            let read = uninterrupted(|| volatile((&self.stream).read_volatile(&mut slice)));
            match read {
                Ok(0) if received == 0 => return Received::End,
                Err(error) if received == 0 => {
                    return match error.kind() {
                        ErrorKind::WouldBlock => Received::Empty,
                        _ => Received::End,
                    };
                }
                Ok(0) | Err(_) => break,
                Ok(count) => received += count,
            }
        }
        Received::Bytes(received)
    }

    /// The guest sends no more, and all it sent was handed on.
    pub fn shut_write(&mut self) {
        if !std::mem::replace(&mut self.shut_write, true) {
            // Fails only when the host has closed its end already.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// The guest takes no more.
    pub fn shut_read(&mut self) {
        if !std::mem::replace(&mut self.shut_read, true) {
            // As above.
            let _ = self.stream.shutdown(Shutdown::Read);
        }
    }
}

fn volatile(result: Result<usize, VolatileMemoryError>) -> io::Result<usize> {
    result.map_err(|error| match error {
        VolatileMemoryError::IOError(error) => error,
        other => io::Error::other(other),
    })
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn pair() -> (HostEnd, UnixStream) {
        let (end, theirs) = HostEnd::pair().unwrap();
        (end, theirs.into())
    }

    fn send(end: &mut HostEnd, bytes: &mut [u8]) -> Result<usize, HostGone> {
        end.send(std::iter::once(VolatileSlice::from(bytes)))
    }

    #[test]
    fn what_the_socket_does_not_take_waits_and_keeps_its_order() {
        let (mut end, mut theirs) = pair();
        let mut sent: Vec<u8> = (0..1 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
        let mut forwarded = send(&mut end, &mut sent.clone()).unwrap();
        assert!(forwarded < sent.len(), "a socket buffer of 1 MiB?");
        assert_eq!(send(&mut end, &mut [7; 3]), Ok(0), "behind the backlog");
        sent.extend([7; 3]);

        let mut got: Vec<u8> = Vec::new();
        let mut chunk = vec![0; 100_000];
        while got.len() < sent.len() {
            let count = theirs.read(&mut chunk).unwrap();
            got.extend(&chunk[..count]);
            forwarded += end.flush().unwrap();
        }
        assert!(got == sent);
        assert_eq!(forwarded, sent.len());
        assert!(end.backlog.is_empty());
    }

    #[test]
    fn a_closed_host_is_noticed_by_writing() {
        let (mut end, theirs) = pair();
        drop(theirs);
        assert_eq!(send(&mut end, &mut [1]), Err(HostGone));
    }

    #[test]
    fn data_comes_before_the_end() {
        let (mut end, mut theirs) = pair();
        send(&mut end, &mut [9; 10]).unwrap();
        theirs.write_all(b"last words").unwrap();
        drop(theirs);
        let (mut head, mut tail) = ([0; 4], [0; 60]);
        let received = end.receive(
            [
                VolatileSlice::from(head.as_mut_slice()),
                VolatileSlice::from(tail.as_mut_slice()),
            ]
            .into_iter(),
        );
        assert_eq!(received, Received::Bytes(10));
        assert_eq!((&head, &tail[..6]), (b"last", b" words".as_slice()));
        let mut more = [0; 4];
        assert_eq!(
            end.receive(std::iter::once(VolatileSlice::from(more.as_mut_slice()))),
            Received::End,
        );
    }

    #[test]
    fn an_idle_host_is_not_at_its_end() {
        let (end, _theirs) = pair();
        let mut room = [0; 4];
        assert_eq!(
            end.receive(std::iter::once(VolatileSlice::from(room.as_mut_slice()))),
            Received::Empty,
        );
    }
}
