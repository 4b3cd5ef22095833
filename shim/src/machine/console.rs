//! The guest's console: nobody reads it until something goes wrong.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are kept. The guest decides how much it writes.
const KEPT: usize = 16 << 10;
/// Lines that an error quotes.
const QUOTED: usize = 12;

/// The last of what the guest wrote to its console.
#[derive(Clone, Default)]
pub(crate) struct Console(Arc<Mutex<VecDeque<u8>>>);

impl Console {
    /// Keeps reading `output` until its end.
    pub(crate) fn read(output: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let console = Self::default();
        tokio::spawn(console.clone().collect(output));
        console
    }

    async fn collect(self, mut output: impl AsyncRead + Unpin) {
        let mut chunk = [0; 1024];
        while let Ok(length @ 1..) = output.read(&mut chunk).await {
            self.append(chunk.get(..length).unwrap_or_default());
        }
    }

    fn append(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }

    /// The last lines, for an error's text.
    pub(crate) fn last_words(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        drop(kept);
        let text = printable(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty() && !is_of_a_trace(line))
            .collect();
        match lines.get(lines.len().saturating_sub(QUOTED)..) {
            None | Some([]) => "the guest wrote nothing to its console".to_owned(),
            Some(last) => format!("the guest's last words: {}", last.join(" | ")),
        }
    }
}

/// How lines begin that the kernel puts around a stack trace.
#[rustfmt::skip]
const TRACE: [&str; 20] = [
    "<TASK>", "</TASK>", "<IRQ>", "</IRQ>", "Call Trace:", "Hardware name:", "Modules linked in:",
    "Code:", "RSP:", "RAX:", "RDX:", "RBP:", "R10:", "R13:", "FS:", "CS:", "CR2:", "Kernel Offset:",
    "---[", "Tainted:",
];

/// Whether the line is of a stack trace, which is longer than what led to it
/// and tells a pod's owner nothing. The place of the fault (`RIP:`) is kept.
fn is_of_a_trace(line: &str) -> bool {
    let text = match line.split_once("] ") {
        Some((time, text)) if time.starts_with('[') => text.trim_start(),
        _ => line,
    };
    // `? function+0x1b/0x20`
    let frame = text
        .rsplit_once("+0x")
        .is_some_and(|(_, offsets)| offsets.contains("/0x"));
    TRACE.iter().any(|start| text.starts_with(start)) || (frame && !text.starts_with("RIP:"))
}

/// The guest may write terminal commands: they must not reach an operator's
/// terminal through an error text.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let console = Console::default();
        for n in 0..10_000 {
            console.append(format!("line {n}\r\n").as_bytes());
        }
        assert!(console.0.lock().unwrap().len() <= KEPT);
        let words = console.last_words();
        assert!(words.ends_with("line 9998 | line 9999"), "{words}");
        assert_eq!(words.matches('|').count(), QUOTED - 1);
    }

    #[test]
    fn what_led_to_a_panic_is_not_lost_behind_its_trace() {
        let console = Console::default();
        console.append(
            b"no storage was found\r\n\
              [    0.85] Kernel panic - not syncing: Attempted to kill init!\r\n\
              [    0.85] RAX: ffff888085600000 RBX: 0\r\n[    0.85]  <TASK>\r\n",
        );
        for _ in 0..20 {
            console.append(b"[    0.85]  ? do_exit+0x8b9/0x9c0\r\n");
        }
        console.append(b"[    0.85]  </TASK>\r\n[    0.85] Kernel Offset: disabled\r\n");
        assert_eq!(
            console.last_words(),
            "the guest's last words: no storage was found | \
             [    0.85] Kernel panic - not syncing: Attempted to kill init!"
        );
    }

    #[test]
    fn terminal_commands_are_taken_out() {
        let console = Console::default();
        console.append(b"\x1b[31mpanic\x07\xff\n");
        assert_eq!(
            console.last_words(),
            "the guest's last words: [31mpanic\u{fffd}"
        );
    }

    #[test]
    fn silence_is_said() {
        assert_eq!(
            Console::default().last_words(),
            "the guest wrote nothing to its console"
        );
    }
}
