//! The log of events on standard error: `-v`, `-vv`, and `TOWLINE_LOG` for single modules.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as log_format};

const VARIABLE: &str = "TOWLINE_LOG";
/// The beginning of the names of the program's own modules; those of other crates are logged on request.
const OWN: &str = "towline";

/// Starts the log: warnings by default, with `-v` information, with `-vv` details; without a flag, what `TOWLINE_LOG`
/// says, such as `debug` or `towline::store=debug`.
pub(super) fn start(verbose: u8) {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    let parsed = (verbose == 0 && !text.is_empty()).then(|| text.parse::<Targets>());
    let (filter, error) = match parsed {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (by_level(0), Some(error)),
        None => (by_level(verbose), None),
    };
    let lines = log_format::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .event_format(Lines)
        .with_filter(filter);
    // A program that calls the command line and has a log of its own keeps it.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    if let Some(error) = error {
        tracing::warn!("{VARIABLE} is not a log filter: {error}");
    }
}

fn by_level(verbose: u8) -> Targets {
    let (own, others) = match verbose {
        0 => (LevelFilter::WARN, LevelFilter::OFF),
        1 => (LevelFilter::INFO, LevelFilter::WARN),
        _ => (LevelFilter::DEBUG, LevelFilter::INFO),
    };
    Targets::new().with_target(OWN, own).with_default(others)
}

/// Lines such as `warning: MESSAGE` and `debug: towline::store: MESSAGE field=value`.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        match *metadata.level() {
            Level::ERROR => write!(writer, "error: ")?,
            Level::WARN => write!(writer, "warning: ")?,
            level => write!(
                writer,
                "{}: {}: ",
                level.as_str().to_ascii_lowercase(),
                metadata.target()
            )?,
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
