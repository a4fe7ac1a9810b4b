//! "Did you mean": the nearest of the known words.

/// A sentence that helps with a word that is not known: the nearest known one, or the list of all.
pub fn sentence(word: &str, known: &[&str], what: &str) -> String {
    if let Some(best) = nearest(word, known) {
        return format!("did you mean `{best}`?");
    }
    if known.is_empty() {
        return format!("there are no {what}");
    }
    let shown: Vec<String> = known.iter().take(12).map(|name| format!("`{name}`")).collect();
    let more = if known.len() > shown.len() {
        format!(" and {} more", known.len() - shown.len())
    } else {
        String::new()
    };
    format!("the {what} are {}{more}", shown.join(", "))
}

/// The known word nearest to `word`, if any is near enough to be a slip; ties go to the first.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|&name| {
            (
                strsim::damerau_levenshtein(&word.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
