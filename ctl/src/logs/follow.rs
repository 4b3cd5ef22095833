//! Reading a log file while it grows.

use std::fs::File;
use std::future::Future;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::io::AsyncWrite;

use super::line::LogLine;
use super::print::Printer;
use super::watch::Watch;

/// How much is read before it is handed on.
const BATCH: usize = 64 << 10;

/// A log file and how far it was read. Follows a rotation: when the path leads
/// to another file, that one is read once the old one is at its end.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: BufReader<File>,
    inode: u64,
    /// The line that is not complete yet.
    line: Vec<u8>,
    changes: Watch,
}

impl Follower {
    /// Opens the log at `path`, to be read from its beginning.
    ///
    /// # Errors
    /// What opening or watching it meets.
    pub fn open(path: &Path) -> io::Result<Self> {
        // The folder: a file that takes this one's place is seen too.
        let changes = Watch::folder(path.parent().unwrap_or(Path::new("/")))?;
        let file = File::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            inode: file.metadata()?.ino(),
            file: BufReader::new(file),
            line: Vec::new(),
            changes,
        })
    }

    /// Whole lines up to some 64 KiB, without waiting; none at the end.
    ///
    /// # Errors
    /// What reading meets.
    pub fn lines(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let (mut lines, mut size) = (Vec::new(), 0);
        while size < BATCH {
            let Some(line) = self.line()? else { break };
            size += line.len();
            lines.push(line);
        }
        Ok(lines)
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.file.read_until(b'\n', &mut self.line)? == 0 && !self.rotated()? {
            return Ok(None);
        }
        match self.line.pop_if(|last| *last == b'\n') {
            Some(_) => Ok(Some(std::mem::take(&mut self.line))),
            None => Ok(None),
        }
    }

    /// Goes over to the file that has taken this one's place, if one has.
    fn rotated(&mut self) -> io::Result<bool> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let inode = file.metadata()?.ino();
        if inode == self.inode {
            return Ok(false);
        }
        self.inode = inode;
        self.file = BufReader::new(file);
        self.file.read_until(b'\n', &mut self.line)?;
        Ok(true)
    }

    /// Waits until something was written. May return early. Safe to cancel.
    ///
    /// # Errors
    /// What the system says.
    pub async fn changed(&self) -> io::Result<()> {
        self.changes.changed().await
    }
}

/// Prints the log at `path` as it grows, until `ended` is done and what was
/// written until then is printed too.
///
/// # Errors
/// What reading or printing meets.
pub async fn follow<W: AsyncWrite + Unpin>(
    path: &Path,
    printer: &mut Printer<W>,
    ended: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut follower = Follower::open(path)?;
    let mut ended = std::pin::pin!(ended);
    let mut last_round = false;
    loop {
        let lines = follower.lines()?;
        printer
            .print(lines.iter().filter_map(|line| LogLine::parse(line)))
            .await?;
        if !lines.is_empty() {
            continue;
        }
        if last_round {
            return Ok(());
        }
        tokio::select! {
            changed = follower.changed() => changed?,
            () = &mut ended => last_round = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Log {
        folder: tempfile::TempDir,
        file: File,
    }

    impl Log {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = File::create(folder.path().join("0.log")).unwrap();
            Self { folder, file }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("0.log")
        }

        fn write(&mut self, text: &str) {
            self.file.write_all(text.as_bytes()).unwrap();
        }
    }

    #[tokio::test]
    async fn a_line_comes_when_it_is_complete() {
        let mut log = Log::new();
        let mut follower = Follower::open(&log.path()).unwrap();
        log.write("one\ntw");
        assert_eq!(follower.lines().unwrap(), [b"one"]);
        assert!(follower.lines().unwrap().is_empty());
        log.write("o\n");
        follower.changed().await.unwrap();
        assert_eq!(follower.lines().unwrap(), [b"two"]);
    }

    #[tokio::test]
    async fn a_rotated_log_is_read_to_its_end_and_then_the_new_one() {
        let mut log = Log::new();
        let mut follower = Follower::open(&log.path()).unwrap();
        log.write("old\n");
        std::fs::rename(log.path(), log.folder.path().join("1.log")).unwrap();
        log.write("late\n");
        assert_eq!(follower.lines().unwrap(), [&b"old"[..], b"late"]);
        log.file = File::create(log.path()).unwrap();
        log.write("new\n");
        follower.changed().await.unwrap();
        assert_eq!(follower.lines().unwrap(), [b"new"]);
    }

    #[tokio::test]
    async fn following_ends_with_what_was_written_before_the_end() {
        let mut log = Log::new();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let path = log.path();
        let task = tokio::spawn(async move {
            let mut printer = Printer::to_memory("");
            let ended = async {
                let _ = receiver.await;
            };
            follow(&path, &mut printer, ended).await.unwrap();
            printer.memory()
        });
        tokio::task::yield_now().await;
        log.write("t stdout F a\nt stderr F b\n");
        drop(sender);
        assert_eq!(task.await.unwrap(), ("a\n".to_owned(), "b\n".to_owned()));
    }
}
