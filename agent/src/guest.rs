//! The life of a guest: prepare, dial, serve, power off. Nothing restarts: what
//! fails here ends the guest, and the host's shim sees the connection end.

use protocol::ports;
use tokio::runtime::{Builder, Runtime};

use crate::helper::nursery;
use crate::init::{self, InitError};
use crate::sandbox::Sandbox;
use crate::vsock::{self, DialError};
use crate::{log, rpc};

#[derive(Debug, thiserror::Error)]
enum GuestError {
    #[error("prepare the guest")]
    Init(#[from] InitError),
    #[error("fork the nursery of helpers")]
    Nursery(#[source] std::io::Error),
    #[error("start the event loop")]
    Runtime(#[source] std::io::Error),
    #[error("watch the guest's processes")]
    Watch(#[source] std::io::Error),
    #[error("reach the host")]
    Dial(#[from] DialError),
    #[error("serve the host")]
    Serve(#[from] ttrpc::Error),
}

/// PID 1. Ends with the machine powered off.
pub(crate) fn run() -> ! {
    let started = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    if let Err(error) = live(started) {
        log::to_kernel(init::log_level());
        tracing::error!("{}", describe(&error));
    }
    init::power_off()
}

fn live(started: rustix::fs::Timespec) -> Result<(), GuestError> {
    init::prepare()?;
    // Before there is a log, an event loop, or anything else that a helper must
    // not inherit.
    let nursery = nursery::fork().map_err(GuestError::Nursery)?;
    log::to_kernel(init::log_level());
    runtime()?.block_on(async {
        let sandbox = Sandbox::new(started, nursery).map_err(GuestError::Watch)?;
        let connection = vsock::dial(ports::CONTROL).await?;
        rpc::serve(sandbox, connection).await?;
        Ok(())
    })
}

/// One thread: the agent waits far more than it computes, and a process of one
/// thread can hand file descriptors to a helper without a race.
fn runtime() -> Result<Runtime, GuestError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(GuestError::Runtime)
}

fn describe(error: &GuestError) -> String {
    protocol::Failure::from_error(protocol::Code::Internal, error).message
}
