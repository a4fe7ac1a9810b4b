//! How a person names a run: `last`, `last~2`, an id, or the beginning or end of one.

pub(in crate::cli) mod diff;
pub(in crate::cli) mod history;

use std::path::Path;

use crate::run::RunRecord;
use crate::store::Store;

/// The store in a folder that a command only looks at: one that is not there is not made.
pub(in crate::cli) fn existing_store(folder: &Path) -> Result<Store, String> {
    if folder.to_string_lossy().contains("://") {
        let text = "this looks at the store of this machine only: name its folder with --store";
        return Err(text.to_owned());
    }
    let store = Store::existing(folder).map_err(|error| error.to_string())?;
    store.ok_or_else(|| {
        format!(
            "there is no store at {}: run a pipeline first, or name another with --store",
            folder.display()
        )
    })
}

/// The record of the run that `name` means.
pub(in crate::cli) fn find(store: &Store, name: &str) -> Result<RunRecord, String> {
    let runs = store.runs().map_err(|error| error.to_string())?;
    let id = identify(&runs, name)?;
    store
        .run(id)
        .ok_or_else(|| format!("the record of the run {id} is not readable"))
}

fn identify<'a>(runs: &'a [String], name: &str) -> Result<&'a String, String> {
    let back = match name.strip_prefix("last") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix('~').and_then(|number| number.parse::<usize>().ok()),
        None => None,
    };
    if let Some(back) = back {
        let found = runs.len().checked_sub(back + 1).map(|index| &runs[index]);
        return found.ok_or_else(|| format!("there is no run `{name}`: the store has {} runs", runs.len()));
    }
    let named: Vec<&String> = runs
        .iter()
        .filter(|id| !name.is_empty() && (id.starts_with(name) || id.ends_with(name)))
        .collect();
    match named.as_slice() {
        [one] => Ok(one),
        [] => Err(format!(
            "there is no run `{name}`; `towline history` lists them, and `last`, `last~1` name the latest"
        )),
        several => Err(format!(
            "`{name}` could be any of {} runs: write more of it",
            several.len()
        )),
    }
}

/// A time in seconds since 1970 as `2026-11-24 08:15`, UTC.
pub(in crate::cli) fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from March, so that the day that is only sometimes there is the last one: 400 years have
    // 146,097 days, and the months from March on have 30.6 days with the fraction cut off.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        rest / 3_600,
        rest / 60 % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let seconds = [0, 951_782_399, 951_782_400, 951_868_800, 1_795_508_100, 4_107_542_400];
        let dates = [
            "1970-01-01 00:00",
            "2000-02-28 23:59",
            "2000-02-29 00:00",
            "2000-03-01 00:00",
            "2026-11-24 08:15",
            "2100-03-01 00:00",
        ];
        assert_eq!(seconds.map(date), dates);
    }

    #[test]
    fn runs_are_named_from_the_end_or_by_a_part_of_their_id() {
        let runs: Vec<String> = ["100", "101", "200"].map(String::from).into();
        let found = |name| identify(&runs, name).cloned();
        assert_eq!(found("last"), Ok("200".into()));
        assert_eq!(found("last~2"), Ok("100".into()));
        assert_eq!(found("101"), Ok("101".into()));
        assert_eq!(found("2"), Ok("200".into()));
        assert!(found("10").unwrap_err().contains("any of 2 runs"));
        assert!(found("last~3").unwrap_err().contains("the store has 3 runs"));
        assert!(found("7").unwrap_err().contains("there is no run `7`"));
    }
}
