//! Selectors: `name`, `+name`, `name+2`, `op:Categorify`, `tag:user`, `state:changed`, and patterns with `*` and `?`.
//!
//! ```text
//! selector := [[number] '+'] core ['+' [number]]
//! core     := pattern | 'op:' pattern | 'tag:' tag | 'state:changed'
//! ```

use std::collections::BTreeSet;
use std::str::FromStr;

use petgraph::Direction;
use towline_api::{NodeType, Tag, suggest};

use crate::typing::{NodeId, TypedGraph};

/// A set of nodes, as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    core: Core,
    /// How many steps against the edges are taken along; none without `+`.
    up: usize,
    /// How many steps along the edges are taken along; none without `+`.
    down: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Core {
    Name(String),
    Operator(String),
    Tag(Tag),
    Changed,
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let steps = |number: &str| match number {
            "" => Ok(usize::MAX),
            number => number
                .parse()
                .map_err(|_| format!("`{number}` beside `+` must be a number of steps, or nothing for all")),
        };
        let parts: Vec<&str> = text.split('+').map(str::trim).collect();
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let (up, core, down) = match parts.as_slice() {
            [core] => (0, *core, 0),
            [up, core] if is_number(up) => (steps(up)?, *core, 0),
            [core, down] => (0, *core, steps(down)?),
            [up, core, down] => (steps(up)?, *core, steps(down)?),
            _ => return Err("write it as name, +name, name+ or 1+name+2".to_owned()),
        };
        let core = match core.split_once(':') {
            Some(("op", name)) => Core::Operator(name.to_owned()),
            Some(("tag", name)) => Core::Tag(name.parse().map_err(|error| format!("{error}"))?),
            Some(("state", "changed")) => Core::Changed,
            Some(("state", other)) => return Err(format!("the only state is `changed`, not `{other}`")),
            _ if core.is_empty() => return Err("there is no name in it".to_owned()),
            _ => Core::Name(core.to_owned()),
        };
        let text = text.to_owned();
        Ok(Selector { text, core, up, down })
    }
}

impl Selector {
    /// Whether it needs to be known what has changed.
    pub fn asks_for_changes(&self) -> bool {
        self.core == Core::Changed
    }

    /// Takes what needs the nodes along as well.
    #[must_use]
    pub fn and_what_follows(mut self) -> Self {
        self.down = usize::MAX;
        self
    }

    /// Takes what the nodes need along as well.
    #[must_use]
    pub fn and_what_it_needs(mut self) -> Self {
        self.up = usize::MAX;
        self
    }

    /// The nodes that it means. `changed` are the nodes that would run. A name that means none is an error, since
    /// a slip must not pass for a choice.
    pub fn nodes(&self, graph: &TypedGraph, changed: &BTreeSet<NodeId>) -> Result<BTreeSet<NodeId>, String> {
        let all = graph.ids();
        let found: BTreeSet<NodeId> = match &self.core {
            Core::Name(pattern) => all.filter(|id| matches(pattern, &graph[*id].name)).collect(),
            Core::Operator(pattern) => all.filter(|id| matches(pattern, graph[*id].descriptor.name)).collect(),
            Core::Tag(tag) => all.filter(|id| carries(&graph[*id].output, *tag)).collect(),
            Core::Changed => changed.clone(),
        };
        if found.is_empty() && self.core != Core::Changed {
            return Err(self.nothing(graph));
        }
        let mut out = found.clone();
        out.extend(reach(graph, &found, Direction::Incoming, self.up));
        out.extend(reach(graph, &found, Direction::Outgoing, self.down));
        Ok(out)
    }

    fn nothing(&self, graph: &TypedGraph) -> String {
        let help = match &self.core {
            Core::Name(name) => suggest::sentence(name, &graph.names(), "nodes"),
            Core::Operator(name) => {
                let mut operators: Vec<&str> = graph.ids().map(|id| graph[id].descriptor.name).collect();
                operators.sort_unstable();
                operators.dedup();
                suggest::sentence(name, &operators, "operators of this pipeline")
            }
            Core::Tag(_) | Core::Changed => "no column of an output carries this tag".to_owned(),
        };
        format!("`{}` means no node: {help}", self.text)
    }
}

/// The nodes at most so many steps away.
pub fn reach(graph: &TypedGraph, from: &BTreeSet<NodeId>, direction: Direction, steps: usize) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    let mut edge: BTreeSet<NodeId> = from.clone();
    for _ in 0..steps {
        let next = edge.iter().flat_map(|id| graph.neighbours(*id, direction));
        let next: BTreeSet<NodeId> = next.filter(|id| !found.contains(id)).collect();
        if next.is_empty() {
            break;
        }
        found.extend(&next);
        edge = next;
    }
    found
}

fn carries(output: &NodeType, tag: Tag) -> bool {
    match output {
        NodeType::Dataset(dataset) => dataset.schema.columns.iter().any(|column| column.has(&[tag])),
        _ => false,
    }
}

/// Whether a name fits a pattern in which `*` stands for any text and `?` for any character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // The last `*` and how much of the name it has taken: where the rest does not fit it takes one character more.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut n) = (0, 0);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("user_id", "user_id", true),
            ("user", "user_id", false),
            ("user*", "user_id.1:Categorify", true),
            ("*_id", "user_id", true),
            ("*_id", "user_ids", false),
            ("u?er*d", "user_id", true),
            ("*a*b*", "xxaxxb", true),
            ("*a*b*c", "xxaxxb", false),
            ("*", "", true),
            ("?", "é", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn plus_takes_neighbours_along() {
        let parsed = |text: &str| text.parse::<Selector>().map(|s| (s.up, s.down));
        assert_eq!(parsed("a"), Ok((0, 0)));
        assert_eq!(parsed("+a"), Ok((usize::MAX, 0)));
        assert_eq!(parsed("a+"), Ok((0, usize::MAX)));
        assert_eq!(parsed("a+2"), Ok((0, 2)));
        assert_eq!(parsed("1+a+2"), Ok((1, 2)));
        for wrong in ["", "+", "a+b", "a+b+c", "1+2+3+4", "tag:nothing", "state:old"] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }
}
