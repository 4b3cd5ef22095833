//! The front end over a process that does as each test says.

use std::error::Error;

use super::*;
use crate::events::Events;
use crate::virtio::Slot;
use crate::virtio::driver::{self, Driver, Line};
use crate::virtio::vhost_user::vsock;

/// Requests of the protocol by their numbers.
const SET_FEATURES: u32 = 2;
const GET_PROTOCOL_FEATURES: u32 = 15;
const SET_PROTOCOL_FEATURES: u32 = 16;
const RESET_DEVICE: u32 = 34;

const MQ: u64 = 1;
const RESET: u64 = 1 << 13;

/// A device process.
#[derive(Clone, Copy)]
struct Process {
    features: u64,
    protocol_features: u64,
    gives_queues_back: bool,
}

const PROCESS: Process = Process {
    features: !0,
    protocol_features: !0,
    gives_queues_back: true,
};

/// Number and first word of a request.
type Request = (u32, u64);

impl Process {
    /// Serves until the other end hangs up. What it was asked.
    fn serve(self, mut socket: UnixStream) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut header = [[0_u8; 4]; 3];
        while socket.read_exact(header.as_flattened_mut()).is_ok() {
            let [request, _, size] = header.map(u32::from_ne_bytes);
            let mut body = vec![0; size as usize];
            socket.read_exact(&mut body).unwrap();
            body.resize(8, 0);
            let value = u64::from_ne_bytes(body[..8].try_into().unwrap());
            requests.push((request, value));
            if let Some(answer) = self.answer(request, value) {
                let header = [request, ANSWER, 8].map(u32::to_ne_bytes);
                let answer = [header.as_flattened(), &answer.to_ne_bytes()].concat();
                socket.write_all(&answer).unwrap();
            }
        }
        requests
    }

    fn answer(self, request: u32, value: u64) -> Option<u64> {
        match request {
            GET_FEATURES => Some(self.features),
            GET_PROTOCOL_FEATURES => Some(self.protocol_features),
            GET_VRING_BASE if self.gives_queues_back => Some(value | 7 << 32),
            _ => None,
        }
    }
}

/// What `act` had the process asked.
fn asked(process: Process, act: impl FnOnce(&mut VhostUser)) -> Vec<Request> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let process = std::thread::spawn(move || process.serve(theirs));
    let mut device = VhostUser::new(vsock(3), ours).unwrap();
    act(&mut device);
    drop(device);
    process.join().unwrap()
}

/// With queues 0 and 2.
fn start(device: &mut VhostUser) {
    let memory = driver::memory();
    let queue = |number| Some(Driver::new(&memory, number, 16, true).ready());
    let features = device.features().unwrap();
    let start = Start {
        features,
        queues: vec![queue(0), None, queue(2)],
        memory: memory.clone(),
        interrupt: Line::new().interrupt(),
        sources: Events::new().unwrap().sources(Slot::new(0).unwrap()),
    };
    device.start(start).unwrap();
}

fn values(requests: &[Request], which: u32) -> Vec<u64> {
    let these = requests.iter().filter(|(request, _)| *request == which);
    these.map(|(_, value)| *value).collect()
}

#[test]
fn a_driver_is_offered_what_drivers_may_use_and_no_more() {
    const LOG_ALL: u64 = 1 << 26;
    let mut offered = 0;
    asked(PROCESS, |device| offered = device.features().unwrap());
    assert_eq!(offered, 1 << 32 | 1 << 29 | 1 << 28);
    let process = Process {
        features: LOG_ALL | PROTOCOL_FEATURES | 1 << 32,
        ..PROCESS
    };
    let requests = asked(process, start);
    let agreed = values(&requests, SET_FEATURES);
    assert_eq!(agreed, [PROTOCOL_FEATURES | 1 << 32]);
}

#[test]
fn a_reset_takes_the_queues_back_and_resets_the_device() {
    let requests = asked(PROCESS, |device| {
        start(device);
        device.stop().unwrap();
        device.stop().unwrap();
    });
    assert_eq!(values(&requests, SET_PROTOCOL_FEATURES), [MQ | RESET]);
    let end = requests.len() - 3..;
    let last = [(GET_VRING_BASE, 0), (GET_VRING_BASE, 2), (RESET_DEVICE, 0)];
    assert_eq!(requests[end], last);
}

#[test]
fn a_process_that_knows_no_resets_is_not_asked_for_one() {
    let process = Process {
        protocol_features: MQ,
        ..PROCESS
    };
    let requests = asked(process, |device| {
        start(device);
        device.stop().unwrap();
    });
    assert_eq!(values(&requests, SET_PROTOCOL_FEATURES), [MQ]);
    assert_eq!(requests.last(), Some(&(GET_VRING_BASE, 2)));
}

/// Not even one that hangs with a queue's lock keeps the thread.
#[test]
fn a_process_that_keeps_a_queue_is_lost() {
    let process = Process {
        gives_queues_back: false,
        ..PROCESS
    };
    asked(process, |device| {
        start(device);
        is_lost(device, |device| device.stop());
    });
}

#[test]
fn a_process_that_says_nothing_is_lost() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut device = VhostUser::new(vsock(3), ours).unwrap();
    is_lost(&mut device, |device| device.features().map(drop));
}

#[test]
fn an_answer_to_something_else_is_no_answer() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut device = VhostUser::new(vsock(3), ours).unwrap();
    let answer = [GET_VRING_BASE, ANSWER, 8, 0, 0].map(u32::to_ne_bytes);
    theirs.write_all(answer.as_flattened()).unwrap();
    let error = device.features().unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, "the answer is [11, 5, 8, 0, 0]");
}

/// By default for longer than a test should take.
fn is_lost(device: &mut VhostUser, act: impl FnOnce(&mut VhostUser) -> Result<(), DeviceError>) {
    let socket = UnixStream::from(OwnedFd::from(device.socket.try_clone().unwrap()));
    assert_eq!(socket.read_timeout().unwrap(), Some(PATIENCE));
    // It is the socket's, whichever descriptor it is set on.
    let soon = Some(Duration::from_millis(20));
    socket.set_read_timeout(soon).unwrap();
    let error = act(device).unwrap_err();
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, "no answer within 10 s");
}
