//! A running lab.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::qemu::{self, Files};
use super::{Error, Lab, Outcome};
use crate::message::{Event, Program, Request};
use crate::tail::last_lines;

/// From QEMU's start to init's first word: about a second, ten on a very busy
/// host.
const BOOT: Duration = Duration::from_secs(60);

/// Init ends a program by itself when its time is over; longer than this after
/// that, and it is the lab that hangs.
const GRACE: Duration = Duration::from_secs(30);

/// From the end of QEMU's output to its own.
const CLOSING: Duration = Duration::from_secs(5);

/// Of the console, in an error.
const LINES_SHOWN: usize = 30;

/// A running lab, which runs one program at a time. Dropping it ends it.
pub struct Machine {
    requests: ChildStdin,
    news: Receiver<News>,
    process: Arc<Mutex<Child>>,
    reader: Option<JoinHandle<()>>,
    console: Console,
    boot: Boot,
}

/// How long the start of a lab took.
#[derive(Clone, Copy, Debug)]
struct Boot {
    /// From the start of QEMU.
    whole: Duration,
    /// Of that, from the kernel's first instruction on.
    kernel: Duration,
}

enum News {
    Started(Started),
    NotStarted(Error),
    Said(Event),
    /// Something that is no message; the next thing is the end.
    Garbage(String),
    Gone(io::Result<ExitStatus>),
}

struct Started {
    requests: ChildStdin,
    process: Arc<Mutex<Child>>,
}

impl Machine {
    pub(super) fn boot(lab: &Lab, archive: &File) -> Result<Self, Error> {
        let begun = Instant::now();
        let console = Console::new().map_err(Error::Archive)?;
        let (sender, news) = channel();
        let reader = Reader {
            lab: lab.clone(),
            archive: archive.try_clone().map_err(Error::Archive)?,
            console: console.try_clone().map_err(Error::Archive)?,
        };
        let reader = std::thread::spawn(move || reader.run(&sender));
        let Started { requests, process } = match news.recv() {
            Ok(News::Started(started)) => started,
            Ok(News::NotStarted(error)) => return Err(error),
            _ => unreachable!("the first news is of the start"),
        };
        let mut machine = Self {
            requests,
            news,
            process,
            reader: Some(reader),
            console,
            boot: Boot {
                whole: Duration::ZERO,
                kernel: Duration::ZERO,
            },
        };
        let kernel = machine.ready()?;
        let whole = begun.elapsed();
        machine.boot = Boot { whole, kernel };
        Ok(machine)
    }

    fn ready(&mut self) -> Result<Duration, Error> {
        match self.next(Instant::now() + BOOT)? {
            Some(Event::Ready { uptime }) => Ok(uptime),
            Some(other) => Err(self.died_saying(&format!("{other:?}"))),
            None => Err(Error::NotReady {
                waited: BOOT,
                console: self.console.last_words(),
            }),
        }
    }

    /// From the start of QEMU to the lab's init, and how much of that the
    /// kernel had.
    #[must_use]
    pub fn boot_time(&self) -> (Duration, Duration) {
        (self.boot.whole, self.boot.kernel)
    }

    /// Runs `program` to its end; `each` gets its output line by line.
    ///
    /// # Errors
    ///
    /// Those of the lab, after which it is of no use any more. A program that
    /// fails is no error.
    pub fn run(&mut self, program: &Program, each: &mut dyn FnMut(&str)) -> Result<Outcome, Error> {
        self.send(&Request::Run(program.clone()))?;
        let deadline = Instant::now() + program.timeout + GRACE;
        let mut output = String::new();
        loop {
            match self.next(deadline)? {
                Some(Event::Line(line)) => {
                    each(&line);
                    output.push_str(&line);
                    output.push('\n');
                }
                Some(Event::Ended(ending)) => return Ok(Outcome { ending, output }),
                Some(Event::Failed(reason)) => {
                    return Err(Error::NotRun {
                        program: program.path.clone(),
                        reason,
                    });
                }
                Some(Event::Ready { .. }) => return Err(self.died_saying("init started twice")),
                None => return Err(self.hangs(program)),
            }
        }
    }

    /// The lab's console and QEMU's complaints, the last lines.
    #[must_use]
    pub fn console(&self) -> String {
        self.console.last_words()
    }

    fn send(&mut self, request: &Request) -> Result<(), Error> {
        let mut line = serde_json::to_string(request).map_err(|error| Error::Send(error.into()))?;
        line.push('\n');
        self.requests
            .write_all(line.as_bytes())
            .map_err(Error::Send)
    }

    /// What init says next, or nothing until `deadline`.
    fn next(&mut self, deadline: Instant) -> Result<Option<Event>, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.news.recv_timeout(left) {
            Ok(News::Said(event)) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Ok(News::Garbage(text)) => Err(self.died_saying(&text)),
            Ok(News::Gone(Ok(status))) => Err(Error::Died {
                status,
                console: self.console.last_words(),
            }),
            Ok(News::Gone(Err(error))) => Err(Error::Send(error)),
            Ok(News::Started(_) | News::NotStarted(_)) | Err(RecvTimeoutError::Disconnected) => {
                Err(self.died_saying("no more news"))
            }
        }
    }

    fn hangs(&self, program: &Program) -> Error {
        Error::Hangs {
            program: program.path.clone(),
            waited: program.timeout + GRACE,
            console: self.console.last_words(),
        }
    }

    /// Ended from here, as nothing it says makes sense any more.
    fn died_saying(&self, words: &str) -> Error {
        let mut process = lock(&self.process);
        // It may have ended by itself.
        let _ = process.kill();
        match process.wait() {
            Ok(status) => Error::Died {
                status,
                console: format!("{}\n{words}", self.console.last_words()),
            },
            Err(error) => Error::Send(error),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself. The reader reaps it.
        let _ = lock(&self.process).kill();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// The thread that starts QEMU and lives as long: QEMU dies with it.
struct Reader {
    lab: Lab,
    archive: File,
    console: Console,
}

impl Reader {
    /// Nobody may be listening any more; then QEMU is being killed.
    fn run(self, news: &Sender<News>) {
        let files = Files {
            archive: &self.archive,
            console: &self.console.guest,
            complaints: match self.console.qemu.try_clone() {
                Ok(file) => file,
                Err(error) => return drop(news.send(News::NotStarted(Error::Archive(error)))),
            },
        };
        let mut child = match qemu::spawn(&self.lab, files) {
            Ok(child) => child,
            Err(error) => return drop(news.send(News::NotStarted(error))),
        };
        let (Some(requests), Some(events)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are pipes");
        };
        let process = Arc::new(Mutex::new(child));
        let started = Started {
            requests,
            process: Arc::clone(&process),
        };
        let _ = news.send(News::Started(started));
        relay(events, news);
        let _ = news.send(News::Gone(reap(&process)));
    }
}

/// QEMU closes its output when it ends, or hangs half closed. The lock is not
/// held while waiting, as whoever drops the machine wants to kill.
fn reap(process: &Mutex<Child>) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + CLOSING;
    while Instant::now() < deadline {
        if let Some(status) = lock(process).try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut process = lock(process);
    process.kill()?;
    process.wait()
}

fn relay(events: ChildStdout, news: &Sender<News>) {
    for line in BufReader::new(events).lines() {
        let Ok(line) = line else { return };
        let said = match serde_json::from_str(&line) {
            Ok(event) => News::Said(event),
            Err(error) => News::Garbage(format!("{error} in {line:?}")),
        };
        let _ = news.send(said);
    }
}

/// What the lab's kernel and QEMU have to say, in memory.
struct Console {
    guest: File,
    qemu: File,
}

impl Console {
    fn new() -> io::Result<Self> {
        let memory = |name: &str| memfd_create(name, MFdFlags::MFD_CLOEXEC).map(File::from);
        Ok(Self {
            guest: memory("lab-console")?,
            qemu: memory("lab-qemu")?,
        })
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            guest: self.guest.try_clone()?,
            qemu: self.qemu.try_clone()?,
        })
    }

    fn last_words(&self) -> String {
        let text = |file: &File| {
            // What cannot be read is not shown.
            let bytes = contents(file).unwrap_or_default();
            last_lines(
                &String::from_utf8_lossy(&bytes).replace('\r', ""),
                LINES_SHOWN,
            )
        };
        format!("{}\n{}", text(&self.guest), text(&self.qemu))
            .trim()
            .to_owned()
    }
}

/// Without moving the position, at which QEMU writes.
fn contents(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// A panic elsewhere leaves a process that has to be ended all the same.
fn lock(process: &Mutex<Child>) -> MutexGuard<'_, Child> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}
