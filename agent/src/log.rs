//! Where `tracing` events go: the kernel's log for the agent, the report pipe
//! for a helper. Far smaller than a general subscriber, which this program has
//! no use for.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Calls `emit` with every event of `level` or graver, as one line of text.
pub(crate) fn install(level: LevelFilter, emit: impl Fn(Level, &str) + Send + Sync + 'static) {
    // Fails only when a subscriber is installed already; that one stays.
    let _ = tracing::subscriber::set_global_default(Lines { level, emit });
}

/// Writes events to `/dev/kmsg`, where the kernel adds the time and passes them
/// on to its consoles.
pub(crate) fn to_kernel(level: LevelFilter) {
    let Ok(kmsg) = File::options().write(true).open("/dev/kmsg") else {
        return;
    };
    install(level, move |level, text| {
        // One write is one record; when that fails there is nowhere to say so.
        let _ = (&kmsg).write_all(format!("<{}>agent: {text}\n", syslog(level)).as_bytes());
    });
}

fn syslog(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

struct Lines<F> {
    level: LevelFilter,
    emit: F,
}

impl<F: Fn(Level, &str) + Send + Sync + 'static> Subscriber for Lines<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        (self.emit)(*event.metadata().level(), &line.finish());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// `message: field, name=field` in the order of the event.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(self) -> String {
        match (self.message.is_empty(), self.fields.is_empty()) {
            (false, false) => format!("{}: {}", self.message, self.fields),
            (true, _) => self.fields,
            (false, true) => self.message,
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => {
                let separator = if self.fields.is_empty() { "" } else { ", " };
                write!(self.fields, "{separator}{name}={value:?}")
            }
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn lines(level: LevelFilter, log: impl FnOnce()) -> Vec<String> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let emit = move |level, text: &str| {
            sink.lock()
                .unwrap()
                .push(format!("{} {text}", syslog(level)));
        };
        tracing::subscriber::with_default(Lines { level, emit }, log);
        seen.lock().unwrap().clone()
    }

    #[test]
    fn one_event_is_one_line_with_its_fields() {
        let log = || tracing::error!(path = "/x", code = 7, "failed to open");
        assert_eq!(
            lines(LevelFilter::WARN, log),
            ["3 failed to open: path=/x, code=7"]
        );
    }

    #[test]
    fn what_is_below_the_level_is_dropped() {
        let log = || tracing::info!("started");
        assert!(lines(LevelFilter::WARN, log).is_empty());
    }
}
