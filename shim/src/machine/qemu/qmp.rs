//! QEMU's control protocol (QMP, docs/interop/qmp-spec of QEMU): a command and
//! its answer at a time, each one line of JSON. What libraries there are cannot
//! send a descriptor with a command.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::machine::descriptors::send;

/// An answer that takes longer is not coming.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest line, bytes: none that is expected has a tenth of it. A guest may
/// have taken QEMU over.
const MAX_LINE: usize = 64 << 10;

/// Longest error text that is repeated.
const SHOWN: usize = 300;

/// A command that was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    #[error("tell QEMU to {command}")]
    Send {
        command: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("QEMU has not answered {command} for {} s", PATIENCE.as_secs())]
    Silent { command: &'static str },
    #[error("QEMU has closed its control socket")]
    Gone,
    #[error("QEMU refuses {command}: {why}")]
    Refused { command: &'static str, why: String },
}

/// What QEMU says; of events and greetings there is nothing in it.
#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    #[serde(rename = "return")]
    value: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

/// The control socket of a QEMU.
pub(super) struct Qmp {
    socket: Arc<UnixStream>,
    turn: Mutex<Turn>,
}

/// Held by whoever has a command under way.
struct Turn {
    answers: mpsc::Receiver<Answer>,
    /// Id of the last command.
    last: u64,
}

impl Qmp {
    /// Listens at once: what nobody reads would pile up in QEMU.
    pub(super) fn new(socket: UnixStream) -> Self {
        let socket = Arc::new(socket);
        let (sender, answers) = mpsc::channel(4);
        tokio::spawn(listen(Arc::clone(&socket), sender));
        let turn = Mutex::new(Turn { answers, last: 0 });
        Self { socket, turn }
    }

    /// Carries out `command`, with a descriptor beside it if it takes one.
    ///
    /// # Errors
    ///
    /// See [`QmpError`].
    pub(super) async fn execute(
        &self,
        command: &'static str,
        arguments: Value,
        fd: Option<OwnedFd>,
    ) -> Result<Value, QmpError> {
        let mut turn = self.turn.lock().await;
        if turn.last == 0 {
            // Before it, QEMU takes no other command.
            self.ask(&mut turn, "qmp_capabilities", json!({}), None)
                .await?;
        }
        self.ask(&mut turn, command, arguments, fd).await
    }

    async fn ask(
        &self,
        turn: &mut Turn,
        command: &'static str,
        arguments: Value,
        fd: Option<OwnedFd>,
    ) -> Result<Value, QmpError> {
        turn.last += 1;
        let request = json!({"execute": command, "arguments": arguments, "id": turn.last});
        let sent = self.send(&request, fd).await;
        sent.map_err(|source| QmpError::Send { command, source })?;
        let answer = timeout(PATIENCE, turn.answer()).await;
        let answer = answer
            .map_err(|_| QmpError::Silent { command })?
            .ok_or(QmpError::Gone)?;
        match answer.error {
            Some(refusal) => Err(QmpError::Refused {
                command,
                why: refusal.desc.chars().take(SHOWN).collect(),
            }),
            None => Ok(answer.value.unwrap_or_default()),
        }
    }

    /// A line is shorter than any socket's buffer: it goes whole or not at all.
    async fn send(&self, request: &Value, fd: Option<OwnedFd>) -> io::Result<()> {
        let line = format!("{request}\n");
        let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let send = || send(self.socket.as_raw_fd(), line.as_bytes(), &fds);
        self.socket.async_io(Interest::WRITABLE, send).await
    }
}

impl Turn {
    /// The answer to the last command: one to an earlier one came too late.
    async fn answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.answers.recv().await?;
            if answer.id == Some(self.last) {
                return Some(answer);
            }
        }
    }
}

/// Until QEMU ends, or says what it never would.
async fn listen(socket: Arc<UnixStream>, answers: mpsc::Sender<Answer>) {
    let mut line = Vec::new();
    let mut chunk = vec![0; 4096];
    while socket.readable().await.is_ok() {
        let length = match socket.try_read(&mut chunk) {
            Ok(length @ 1..) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Ok(_) | Err(_) => return,
        };
        for byte in chunk.iter().take(length) {
            if *byte != b'\n' {
                line.push(*byte);
                continue;
            }
            tell(&line, &answers);
            line.clear();
        }
        if line.len() > MAX_LINE {
            return;
        }
    }
}

fn tell(line: &[u8], answers: &mpsc::Sender<Answer>) {
    // Events have no id. An answer that nobody waits for has no place to go.
    if let Ok(answer) = serde_json::from_slice::<Answer>(line)
        && answer.id.is_some()
    {
        let _ = answers.try_send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    /// Answers each command by `answer`, which gets its name and its id.
    fn qemu(answer: impl Fn(&str, u64) -> String + Send + 'static) -> Qmp {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let (reader, mut writer) = theirs.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(b"{\"QMP\": {}}\r\n").await.unwrap();
            while let Ok(Some(line)) = lines.next_line().await {
                let command: Value = serde_json::from_str(&line).unwrap();
                let id = command["id"].as_u64().unwrap();
                let said = answer(command["execute"].as_str().unwrap(), id);
                writer.write_all(said.as_bytes()).await.unwrap();
            }
        });
        Qmp::new(ours)
    }

    #[tokio::test]
    async fn an_answer_is_found_among_events() {
        let qmp = qemu(|name, id| {
            format!(
                "{{\"event\": \"MEMORY_DEVICE_SIZE_CHANGE\"}}\r\n\
                 {{\"return\": \"late\", \"id\": 0}}\r\n\
                 {{\"return\": \"{name}\", \"id\": {id}}}\r\n"
            )
        });
        let answer = qmp.execute("qom-get", json!({}), None).await.unwrap();
        assert_eq!(answer, "qom-get");
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_qemus_words() {
        let qmp = qemu(|name, id| match name {
            "qmp_capabilities" => format!("{{\"return\": {{}}, \"id\": {id}}}\n"),
            _ => format!(
                "{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"no bus\"}}, \"id\": {id}}}\n"
            ),
        });
        let refused = qmp.execute("device_add", json!({}), None).await;
        let text = refused.unwrap_err().to_string();
        assert_eq!(text, "QEMU refuses device_add: no bus");
    }

    #[tokio::test]
    async fn who_waits_hears_of_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qmp = Qmp::new(ours);
        let end = async {
            theirs.readable().await.unwrap();
            drop(theirs);
        };
        let asking = qmp.execute("qom-get", json!({}), None);
        let (asked, ()) = tokio::join!(asking, end);
        assert!(matches!(asked, Err(QmpError::Gone)), "{asked:?}");
    }
}
