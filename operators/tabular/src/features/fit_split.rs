//! The split to fit on.

pub(super) use towline_api::default_split;
use towline_api::{Code, Problem, suggest};

/// A problem if the input does not have the split `fit_on`.
pub(crate) fn unknown_split(fit_on: &String, splits: &[String]) -> Option<Problem> {
    if splits.contains(fit_on) {
        return None;
    }
    let known: Vec<&str> = splits.iter().map(String::as_str).collect();
    let problem = Problem::new(Code::UnknownSplit, format!("there is no split `{fit_on}` to fit on"));
    Some(problem.at("fit_on").help(suggest::sentence(fit_on, &known, "splits")))
}
