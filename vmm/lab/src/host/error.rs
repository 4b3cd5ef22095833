//! What can go wrong with a lab, in a sentence that says what to do.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::message::Ending;

/// A lab that does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file for the lab is not there.
    #[error("cannot read {path} for the lab")]
    File {
        /// On the host.
        path: PathBuf,
        /// Answer of the kernel.
        #[source]
        source: io::Error,
    },

    /// A file's place in the lab is no absolute path, or leads elsewhere.
    #[error("{path:?} is no place for a file in the lab: it has to be absolute, without '..'")]
    Place {
        /// In the lab.
        path: String,
    },

    /// A file that the archive's format has no room for.
    #[error("{path:?} has {size} bytes; the lab's files may have 4 GiB less one each")]
    TooLarge {
        /// In the lab.
        path: String,
        /// Bytes.
        size: u64,
    },

    /// The lab's files could not be put together.
    #[error("cannot put the lab's files together in memory")]
    Archive(#[source] io::Error),

    /// The lab's own kernel is not there.
    #[error(
        "there is no kernel for the lab at {path}: `guest-kernel-config/build.sh vmm/lab/kernel` \
         builds it, or KATA_MSHV_LAB_KERNEL names one"
    )]
    NoKernel {
        /// Where it should be.
        path: PathBuf,
    },

    /// No QEMU, most likely.
    #[error("cannot start {program}: Debian has it in qemu-system-x86")]
    Start {
        /// Name of the program.
        program: &'static str,
        /// Answer of the kernel.
        #[source]
        source: io::Error,
    },

    /// QEMU is there, init is not heard of.
    #[error(
        "the lab's init said nothing for {waited:?} (does main begin with lab::enter()?); its \
         console:\n{console}"
    )]
    NotReady {
        /// How long.
        waited: Duration,
        /// Last lines.
        console: String,
    },

    /// QEMU ended: the lab's kernel panicked, or QEMU refused its options.
    #[error("the lab ended ({status}); its last words:\n{console}")]
    Died {
        /// QEMU's.
        status: ExitStatus,
        /// Last lines of the lab's console and of QEMU.
        console: String,
    },

    /// The port carries something else.
    #[error("the lab said {words:?}, which is no message of its init; its console:\n{console}")]
    Senseless {
        /// Or the reason why it is none.
        words: String,
        /// Last lines.
        console: String,
    },

    /// The lab runs and says nothing, long after the program's time.
    #[error("the lab hangs: nothing of {program} for {waited:?}; its console:\n{console}")]
    Hangs {
        /// What was running.
        program: String,
        /// How long.
        waited: Duration,
        /// Last lines.
        console: String,
    },

    /// Init could not start the program.
    #[error("the lab could not run {program}: {reason}")]
    NotRun {
        /// What was to be run.
        program: String,
        /// Init's words.
        reason: String,
    },

    /// The port broke.
    #[error("cannot send the lab a request")]
    Send(#[source] io::Error),

    /// QEMU ended, somehow.
    #[error("cannot learn how the lab ended")]
    Wait(#[source] io::Error),

    /// A program that had to succeed did not.
    #[error("{program} {ending} in the lab; its output:\n{output}")]
    Unsuccessful {
        /// What was run.
        program: String,
        /// Its end.
        ending: Ending,
        /// Last lines.
        output: String,
    },
}
