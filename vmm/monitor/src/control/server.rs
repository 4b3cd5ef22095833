//! The life of the process: make the machine that the shim asks for, serve
//! shim and devices until it is over.

use std::io;
use std::os::fd::OwnedFd;

use vmm_api::{Answer, Descriptor, Event, MachineConfig, Message, Request, StopReason};

use super::socket::{Control, ControlError, Received};
use crate::cpu::ResizeError;
use crate::error;
use crate::events::{Events, Token};
use crate::jail::{Filter, FilterError, Kind};
use crate::machine::{
    AmountError, BalloonError, BuildError, Built, PlugError, RunError, Running, Setup, SetupError,
    State, StateError,
};

/// The machine did not come about, or the shim cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The first message is another one.
    #[error("the first request has to be a start")]
    NotAStart,
    /// Nothing can be waited for.
    #[error("wait for events")]
    Wait(#[source] io::Error),
    /// The configuration.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// KVM, memory, images, devices.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Threads.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The jail of the thread that serves.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// It is not paused, as it is at first.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A request that cannot be met, while the machine goes on.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the machine has been started already")]
    Started,
    #[error(transparent)]
    Plug(#[from] PlugError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Resize(#[from] ResizeError),
    #[error(transparent)]
    Amount(#[from] AmountError),
    #[error(transparent)]
    Balloon(#[from] BalloonError),
}

/// Serves the shim, and confines the calling thread while it does and ever
/// after. Returns when the machine is over, with why, or without a
/// reason when the shim is gone. The machine is not taken down piece by piece:
/// the process is expected to end.
///
/// # Errors
/// See [`ServeError`]; the shim has been told.
pub fn serve(mut control: Control) -> Result<Option<StopReason>, ServeError> {
    let (config, descriptors, fds) = match control.receive()? {
        Received::Closed => return Ok(None),
        Received::Request(
            Request::Start {
                machine,
                descriptors,
            },
            fds,
        ) => (machine, descriptors, fds),
        Received::Request(..) => return refuse(&control, ServeError::NotAStart),
    };
    let events = Events::new().map_err(ServeError::Wait)?;
    match start(&config, &descriptors, fds, &events) {
        Err(error) => refuse(&control, error),
        Ok(machine) => {
            control.send(&Message::Answer(Answer::Done))?;
            let mut machine = std::mem::ManuallyDrop::new(machine);
            attend(&mut control, &mut machine, &events)
        }
    }
}

fn start(
    config: &MachineConfig,
    descriptors: &[Descriptor],
    fds: Vec<OwnedFd>,
    events: &Events,
) -> Result<Running, ServeError> {
    let setup = Setup::check(config, descriptors, fds)?;
    let filter = Filter::new(Kind::Main)?;
    let mut machine = Built::new(setup, events)?.run()?;
    filter.apply()?;
    machine.resume()?;
    Ok(machine)
}

fn refuse<T>(control: &Control, why: ServeError) -> Result<T, ServeError> {
    let answer = Answer::Refused {
        why: error::chain(&why),
    };
    control.send(&Message::Answer(answer))?;
    Err(why)
}

fn attend(
    control: &mut Control,
    machine: &mut Running,
    events: &Events,
) -> Result<Option<StopReason>, ServeError> {
    events
        .watch(&*control, Token::Control)
        .map_err(ServeError::Wait)?;
    loop {
        let ready = match machine.state() {
            State::Running => events.wait(),
            State::Paused => events.wait_paused(),
        };
        for token in ready.map_err(ServeError::Wait)? {
            match token {
                // One that was ready together with the request to pause.
                Token::Device { .. } | Token::Disks if machine.state() == State::Paused => {}
                Token::Device { slot, source } => machine.serve(slot, source),
                Token::Disks => machine.serve_disks(),
                Token::Over => {}
                Token::Control => match answer(control, machine)? {
                    Attention::Answered => {}
                    Attention::Ended(reason) => return end(control, machine, reason),
                },
            }
        }
        if let Some(reason) = machine.over() {
            return end(control, machine, Some(reason));
        }
    }
}

/// What came of a message.
enum Attention {
    Answered,
    Ended(Option<StopReason>),
}

fn answer(control: &mut Control, machine: &mut Running) -> Result<Attention, ServeError> {
    let (request, fds) = match control.receive()? {
        Received::Closed => return Ok(Attention::Ended(None)),
        Received::Request(request, fds) => (request, fds),
    };
    let is_stop = request == Request::Stop;
    let answer = meet(&request, fds, machine).unwrap_or_else(|refusal| Answer::Refused {
        why: error::chain(&refusal),
    });
    control.send(&Message::Answer(answer))?;
    Ok(match is_stop {
        true => Attention::Ended(Some(StopReason::Requested)),
        false => Attention::Answered,
    })
}

fn meet(request: &Request, fds: Vec<OwnedFd>, machine: &mut Running) -> Result<Answer, Refusal> {
    match request {
        Request::Start { .. } => Err(Refusal::Started),
        Request::Pause => Ok(machine.pause().map(|()| Answer::Done)?),
        Request::Resume => Ok(machine.resume().map(|()| Answer::Done)?),
        Request::Stop => Ok(Answer::Done),
        Request::ResizeVcpus { vcpus } => {
            Ok(machine.resize_vcpus(*vcpus).map(|()| Answer::Done)?)
        }
        Request::ResizeMemory { memory_mib } => {
            Ok(machine.resize_memory(*memory_mib).map(|()| Answer::Done)?)
        }
        Request::ResizeBalloon { balloon_mib } => Ok(machine
            .resize_balloon(*balloon_mib)
            .map(|()| Answer::Done)?),
        Request::Stats => Ok(Answer::Stats(machine.stats())),
        Request::Attach { device } => {
            let slot = machine.attach(device, fds)?;
            Ok(Answer::Attached { slot })
        }
        Request::Detach { slot } => Ok(machine.detach(slot).map(|()| Answer::Done)?),
    }
}

fn end(
    control: &Control,
    machine: &Running,
    reason: Option<StopReason>,
) -> Result<Option<StopReason>, ServeError> {
    machine.flush_console();
    if let Some(reason) = &reason {
        let reason = reason.clone();
        control.send(&Message::Event(Event::Stopped { reason }))?;
    }
    Ok(reason)
}
