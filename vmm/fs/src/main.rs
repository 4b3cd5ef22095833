//! `kata-mshv-fs`: serves one directory to one virtual machine as a virtio-fs
//! device (virtio 1.2, section 5.11), as a vhost-user back end.
//!
//! The file server itself is the `virtiofsd` crate. What is here is the process
//! around it, in the order in which a start goes through it:
//!
//! ```text
//! options ─ logger ─ privileges ─ sandbox ─ share ─ syscalls ─ serve
//!                    (limits)     (pivot)   (policy) (seccomp)  (until the VMM hangs up)
//! ```
//!
//! Nothing from the guest is read before the last step, and by then the process
//! can reach the share, one socket and its standard streams, and no more.

mod device;
mod logger;
mod options;
mod privileges;
mod relief;
mod sandbox;
mod serve;
mod share;
mod syscalls;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::options::Options;
use crate::relief::Relief;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logger::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    logger::start(options.log_level).context("set up the log")?;
    privileges::die_with_parent().context("tie this process to its parent")?;
    let listener = serve::inherited_listener(options.listen_fd)?;
    let descriptors = privileges::raise_descriptor_limit()?;
    let relief = options.relief_fd.map(|fd| Relief::on(fd, descriptors));
    let relief = relief.transpose().context("ask the parent for relief")?;
    let proc_self_fd = sandbox::enter(&options.share)?;
    privileges::keep_file_capabilities()?;
    let files = share::open(options, proc_self_fd, descriptors)?;
    syscalls::restrict()?;
    serve::until_disconnect(files, listener, options.threads, relief)?;
    Ok(())
}
