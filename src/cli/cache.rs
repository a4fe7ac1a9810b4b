//! `towline cache ls|size|verify|gc`

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::cli::{Exit, runs, tables};
use crate::plan::grouped;
use crate::store::{CollectionReport, Content, RetentionPolicy, Store, StoredEntry};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the entries, the most recently used first.
    Ls(Place),
    /// Print the size of the store and its limit.
    Size(Place),
    /// Read every artifact and compare its digest; damaged ones are removed, so that the next run makes them again. Exits
    /// with 3 if there were any.
    Verify(Place),
    /// Remove artifacts that are not needed any more.
    Gc(Collect),
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The folder of the store.
    #[arg(long, value_name = "FOLDER", default_value = ".towline")]
    store: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Collect {
    #[command(flatten)]
    place: Place,
    /// Keep the artifacts of this many last runs.
    #[arg(long, value_name = "N", default_value_t = RetentionPolicy::default().runs)]
    keep_runs: usize,
    /// Remove artifacts that no run has used for this many days.
    #[arg(long, value_name = "DAYS", default_value_t = RetentionPolicy::default().age.as_secs() / DAY)]
    max_age: u64,
    /// Remove the least recently used artifacts until the store is no bigger than this: `500MB`, `20GB`.
    #[arg(long, value_name = "SIZE", default_value_t = Size(RetentionPolicy::default().bytes))]
    max_size: Size,
    /// Print what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

const DAY: u64 = 24 * 3_600;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size(u64);

const UNITS: [(&str, u64); 4] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.trim().to_uppercase();
        let unit = UNITS
            .iter()
            .find_map(|(unit, bytes)| Some((upper.strip_suffix(unit)?, *bytes)));
        let (number, bytes) = unit.unwrap_or((&upper, 1));
        match number.trim().parse::<f64>() {
            Ok(number) if number >= 0.0 => Ok(Size((number * bytes as f64) as u64)),
            _ => Err("write a size as 500MB or 20GB".to_owned()),
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fits = UNITS.iter().find(|(_, bytes)| self.0 >= *bytes);
        let (unit, bytes) = fits.unwrap_or(&UNITS[3]);
        let number = self.0 as f64 / *bytes as f64;
        if number.fract() == 0.0 {
            write!(f, "{number}{unit}")
        } else {
            write!(f, "{number:.1}{unit}")
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let done = match &arguments.command {
        Command::Ls(place) => open(place).and_then(|store| list(&store)),
        Command::Size(place) => open(place).and_then(|store| size(&store)),
        Command::Verify(place) => open(place).and_then(|store| verify(&store)),
        Command::Gc(collect) => open(&collect.place).and_then(|store| gc(&store, collect)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })
}

fn open(place: &Place) -> Result<Store, String> {
    runs::existing_store(&place.store)
}

fn list(store: &Store) -> Result<Exit, String> {
    let contents = store
        .contents(RetentionPolicy::default().runs)
        .map_err(|error| error.to_string())?;
    let rows = contents.entries.iter().map(row).collect();
    print!(
        "{}",
        tables::table(&["key", "kind", "size", "last used", "used by a run", "nodes"], rows)
    );
    Ok(Exit::Success)
}

fn row(stored: &StoredEntry) -> Vec<String> {
    let kind = match stored.entry.content {
        Content::Dataset { .. } => "dataset",
        Content::State { .. } => "fit",
        Content::Model { .. } => "model",
        Content::Metrics => "metrics",
        Content::Receipt { .. } => "receipt",
    };
    let bytes = stored.entry.blobs().iter().map(|blob| blob.bytes).sum();
    let names: Vec<&str> = stored.nodes.iter().map(String::as_str).collect();
    vec![
        stored.entry.key.get(..12).unwrap_or(&stored.entry.key).to_owned(),
        kind.to_owned(),
        Size(bytes).to_string(),
        ago(stored.age),
        if stored.reachable { "yes" } else { "no" }.to_owned(),
        names.join(", "),
    ]
}

fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..DAY => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / DAY),
    }
}

fn size(store: &Store) -> Result<Exit, String> {
    let policy = RetentionPolicy::default();
    let contents = store.contents(policy.runs).map_err(|error| error.to_string())?;
    println!(
        "{} in {} artifacts of {} entries",
        Size(contents.bytes()),
        grouped(contents.blobs() as u64),
        grouped(contents.entries.len() as u64)
    );
    println!("{}", describe(&policy));
    Ok(Exit::Success)
}

/// The policy, for a person.
fn describe(policy: &RetentionPolicy) -> String {
    format!(
        "policy: keep the artifacts of the last {} complete runs of each pipeline, and others that were used in the last {} days, up to {} in all",
        policy.runs,
        policy.age.as_secs() / DAY,
        Size(policy.bytes)
    )
}

fn verify(store: &Store) -> Result<Exit, String> {
    let (read, damaged) = store.verify().map_err(|error| error.to_string())?;
    for path in &damaged {
        println!("damaged, and removed: {}", path.display());
    }
    println!("{} artifacts read, {} damaged", grouped(read as u64), damaged.len());
    Ok(if damaged.is_empty() {
        Exit::Success
    } else {
        Exit::CheckFailed
    })
}

fn gc(store: &Store, arguments: &Collect) -> Result<Exit, String> {
    let policy = RetentionPolicy {
        runs: arguments.keep_runs,
        age: Duration::from_secs(arguments.max_age.saturating_mul(DAY)),
        bytes: arguments.max_size.0,
    };
    let collected = store
        .collect(&policy, arguments.dry_run)
        .map_err(|error| error.to_string())?;
    println!("{}", describe(&policy));
    for key in &collected.entries {
        println!("  {}", key.get(..12).unwrap_or(key));
    }
    let verb = if arguments.dry_run { "would remove" } else { "removed" };
    println!("{verb}: {}", describe_removed(&collected));
    if collected.left > policy.bytes {
        println!(
            "the rest is bigger than the policy, and all of it is kept for the last {} runs",
            policy.runs
        );
    }
    Ok(Exit::Success)
}

fn describe_removed(collected: &CollectionReport) -> String {
    format!(
        "{} entries, {} artifacts, {}; {} left",
        collected.entries.len(),
        collected.blobs,
        Size(collected.bytes),
        Size(collected.left)
    )
}

/// Collects after a run: once a day, and when the store has grown beyond its limit. Another run that uses the store
/// postpones the collection.
pub(super) fn enforce_retention(store: &Store, policy: &RetentionPolicy, has_grown: bool) {
    if store.is_collection_due(policy, has_grown).is_ok_and(|due| !due) {
        return;
    }
    match store.collect(policy, false) {
        Ok(collected) if !collected.entries.is_empty() => {
            eprintln!("cache: removed {} ({})", describe_removed(&collected), describe(policy));
        }
        Ok(_) | Err(crate::store::StoreError::InUse) => {}
        Err(error) => tracing::warn!("the cache could not be collected: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("0", 0), ("12", 12), ("1.5 kb", 1_536), ("20GB", 20 << 30), ("3B", 3)] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        for wrong in ["", "GB", "-1MB", "many"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        assert_eq!(
            [0, 1_536, 20 << 30].map(|bytes| Size(bytes).to_string()),
            ["0B", "1.5KB", "20GB"]
        );
    }
}
