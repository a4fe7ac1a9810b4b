//! "Did you mean": the nearest of the known words.

/// How many names a sentence lists before it only counts the rest.
const LISTED: usize = 12;
/// How many names are compared, so that a file with very many wrong names is still answered at once.
const COMPARED: usize = 2_000;
/// Words longer than this, in characters, are not slips for each other.
const LONGEST: usize = 80;

/// A sentence that helps with a word that is not known: the nearest known one, or the list of all.
pub fn sentence(word: &str, known: &[&str], what: &str) -> String {
    if let Some(best) = nearest(word, known) {
        return format!("did you mean `{best}`?");
    }
    if known.is_empty() {
        return format!("there are no {what}");
    }
    let shown: Vec<String> = known.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    let more = if known.len() > shown.len() {
        format!(" and {} more", known.len() - shown.len())
    } else {
        String::new()
    };
    format!("the {what} are {}{more}", shown.join(", "))
}

/// The known word nearest to `word`, if any is near enough to be a slip, or is `word` written out (`interactions` for
/// `inter`). Nearest is one that is the same but for case, underscores, hyphens and spaces (`adam_w` for `AdamW`). Of
/// equally near ones the alphabetically first, whatever their order.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let length = word.chars().count();
    if length == 0 || length > LONGEST {
        return None;
    }
    let (lower, letters) = (word.to_lowercase(), letters_of(word));
    let allowed = (length / 3).clamp(1, 4);
    known
        .iter()
        .filter(|name| **name != word && name.len() <= LONGEST * 4)
        .take(COMPARED)
        .filter_map(|&name| {
            let other = name.to_lowercase();
            let distance = if !letters.is_empty() && letters_of(name) == letters {
                0
            } else if other.chars().count().abs_diff(length) > allowed {
                return (lower.len() >= 4 && other.starts_with(&lower)).then_some((allowed + 1, name));
            } else {
                strsim::damerau_levenshtein(&lower, &other)
            };
            // One edit turns any one-letter name into any other: that is no likeness.
            (distance <= allowed && distance < length).then_some((distance, name))
        })
        .min()
        .map(|(_, name)| name)
}

/// A word in lower case, without what words are put together with.
fn letters_of(word: &str) -> String {
    word.to_lowercase().replace(['_', '-', ' '], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_close_and_do_not_depend_on_the_order() {
        let known = ["Categorify", "Filter", "TagAsUserID", "TagAsItemID"];
        assert_eq!(nearest("Categorfy", &known), Some("Categorify"));
        assert_eq!(nearest("filter", &known), Some("Filter"));
        assert_eq!(nearest("Nonsense", &known), None);
        assert_eq!(nearest("b", &["a", "c"]), None);
        assert_eq!(nearest("abd", &["abf", "abe"]), Some("abe"));
        assert_eq!(nearest("inter", &["interactions"]), Some("interactions"));
        let optimizers = ["adam", "adam_w", "adagrad"];
        for word in ["adamw", "AdamW", "Adam-W", "adam w"] {
            assert_eq!(nearest(word, &optimizers), Some("adam_w"), "{word}");
        }
        assert_eq!(nearest("adamm", &optimizers), Some("adam"));
        assert_eq!(nearest("a_b_c_d_e", &["abcde"]), Some("abcde"));
        assert_eq!(nearest("_", &["-"]), None);
        assert_eq!(sentence("zzz", &["a", "b"], "nodes"), "the nodes are `a`, `b`");
        assert_eq!(sentence("zzz", &[], "nodes"), "there are no nodes");
    }
}
