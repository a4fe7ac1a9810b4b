//! What a change makes run again, and what it does not; and what the user is told of it.

use std::collections::BTreeSet;
use std::fs;

use towline::run::{NodeStatus, RunRecord};

use crate::fixture::workspace::{Workspace, stderr, stdout};

const CSV: &str = "user,item,kind,clicked\n1,10,a,1\n1,11,b,1\n2,10,a,1\n2,12,,0\n3,11,b,1\n";
/// A source, a plan that two nodes read, a fit, a projection that a task reads, and a branch of its own.
const PIPELINE: &str = "\
version: 1
name: small
nodes:
  events: { op: CsvSource, with: { path: events.csv } }
  clicks: { op: Filter, input: events, with: { where: \"clicked = ${env.CLICKED:-1}\" } }
  kinds: clicks[kind] >> Categorify(min_count=1)
  all: kinds + clicks[user, item]
  file: { op: ParquetExport, input: all, with: { path: out } }
  people: { op: Sql, inputs: { c: clicks }, with: { query: SELECT DISTINCT user FROM c ORDER BY user } }
  people_file: { op: ParquetExport, input: people, with: { path: people } }
";

struct Small(Workspace);

impl Small {
    fn new() -> Self {
        let small = Small(Workspace::new());
        small.0.write("events.csv", CSV);
        small.0.write("p.yaml", PIPELINE);
        small.run(&[]);
        small
    }

    fn run(&self, more: &[&str]) -> RunRecord {
        self.run_with(more, &[])
    }

    fn run_with(&self, more: &[&str], env: &[(&str, &str)]) -> RunRecord {
        let output = self.0.towline_with(&[&["run", "p.yaml"], more].concat(), env);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        self.record()
    }

    fn record(&self) -> RunRecord {
        self.0.records().pop().expect("there was a run")
    }

    fn plan(&self, more: &[&str]) -> String {
        stdout(&self.0.towline(&[&["plan", "p.yaml"], more].concat()))
    }

    fn rewrite(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.0.path().join("p.yaml")).expect("it is there");
        assert!(text.contains(from), "{from}");
        self.0.write("p.yaml", &text.replace(from, to));
    }
}

fn ran(record: &RunRecord) -> BTreeSet<&str> {
    let ran = record.nodes.iter().filter(|node| node.status == NodeStatus::Ran);
    ran.map(|node| node.name.as_str()).collect()
}

/// A change, and exactly the nodes that run because of it.
struct Change {
    name: &'static str,
    make: fn(&Small),
    more: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    runs: &'static [&'static str],
}

const DOWN_FROM_CLICKS: &[&str] = &["clicks", "kinds", "all", "file", "people", "people_file"];

const CHANGES: &[Change] = &[
    Change {
        name: "nothing",
        make: |_| {},
        more: &[],
        env: &[],
        runs: &[],
    },
    Change {
        name: "a parameter in the middle",
        make: |small| small.rewrite("min_count=1", "min_count=3"),
        more: &[],
        env: &[],
        runs: &["kinds", "all", "file"],
    },
    Change {
        name: "a parameter on the command line",
        make: |_| {},
        more: &[
            "--set",
            "nodes.people.with.query=SELECT DISTINCT item FROM c ORDER BY item",
        ],
        env: &[],
        runs: &["people", "people_file"],
    },
    Change {
        name: "a default that is written down",
        make: |small| small.rewrite("min_count=1", "min_count=1, oov_buckets=1"),
        more: &[],
        env: &[],
        runs: &[],
    },
    Change {
        name: "bytes of the source",
        make: |small| drop(small.0.write("events.csv", &CSV.replace("3,11,b,1", "4,11,a,1"))),
        more: &[],
        env: &[],
        runs: DOWN_FROM_CLICKS,
    },
    Change {
        name: "the source is written again with the same bytes",
        make: |small| drop(small.0.write("events.csv", CSV)),
        more: &[],
        env: &[],
        runs: &[],
    },
    Change {
        name: "rows of the source that the filter drops: what follows is cut off",
        make: |small| drop(small.0.write("events.csv", &CSV.replace("2,12,,0", "9,19,,0"))),
        more: &[],
        env: &[],
        runs: &["clicks"],
    },
    Change {
        name: "the times of the source",
        make: |small| {
            let file = fs::File::options().write(true).open(small.0.path().join("events.csv"));
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
            file.and_then(|file| file.set_modified(later)).expect("it is ours");
        },
        more: &[],
        env: &[],
        runs: &[],
    },
    Change {
        name: "a variable of the environment that the pipeline names",
        make: |_| {},
        more: &[],
        env: &[("CLICKED", "0")],
        runs: DOWN_FROM_CLICKS,
    },
    Change {
        name: "the same variable, set to its default",
        make: |_| {},
        more: &[],
        env: &[("CLICKED", "1")],
        runs: &[],
    },
    Change {
        name: "a variable of the environment that the pipeline does not name",
        make: |_| {},
        more: &[],
        env: &[("UNRELATED", "1"), ("RUST_LOG", "trace"), ("TZ", "Asia/Tokyo")],
        runs: &[],
    },
    Change {
        name: "a comment",
        make: |small| small.rewrite("nodes:\n", "# what people click on\nnodes:\n"),
        more: &[],
        env: &[],
        runs: &[],
    },
    Change {
        name: "the names of columns, in the source alone",
        make: |small| {
            small.0.write("events.csv", &CSV.replacen("user,item", "item,user", 1));
        },
        more: &[],
        env: &[],
        runs: DOWN_FROM_CLICKS,
    },
    Change {
        name: "a column of the source that only passes through: what comes to the same is cut off",
        make: |small| {
            let csv: String = CSV.lines().map(|line| format!("{line},7\n")).collect();
            small.0.write("events.csv", &csv.replacen(",7", ",extra", 1));
        },
        more: &[],
        env: &[],
        runs: &["clicks", "kinds", "all", "people"],
    },
    Change {
        name: "the type of a column, by schema alone",
        make: |small| small.rewrite("path: events.csv", "path: events.csv, schema: { user: int32 }"),
        more: &[],
        env: &[],
        runs: DOWN_FROM_CLICKS,
    },
    Change {
        name: "the name of a node",
        make: |small| {
            small.rewrite("people:", "persons:");
            small.rewrite("input: people,", "input: persons,");
            small.rewrite("clicks[", "chosen[");
            small.rewrite("  clicks:", "  chosen:");
            small.rewrite("c: clicks", "c: chosen");
        },
        more: &[],
        env: &[],
        runs: &[],
    },
    Change {
        name: "the order of the keys",
        make: |small| {
            small.rewrite(
                "{ op: ParquetExport, input: all, with: { path: out } }",
                "{ op: ParquetExport, with: { path: out }, input: all }",
            );
        },
        more: &[],
        env: &[],
        runs: &[],
    },
    Change {
        name: "the order of the nodes, a comment, and the layout",
        make: |small| {
            small.rewrite(
                "  people_file: { op: ParquetExport, input: people, with: { path: people } }\n",
                "",
            );
            small.rewrite(
                "  clicks: {",
                "  people_file: # published\n    op: ParquetExport\n    input: people\n    with:\n      path: \"people\"\n  clicks: {",
            );
        },
        more: &[],
        env: &[],
        runs: &[],
    },
    Change {
        name: "parallelism and what is shown",
        make: |_| {},
        more: &["--jobs", "1", "--quiet"],
        env: &[],
        runs: &[],
    },
];

#[test]
fn each_kind_of_change_runs_what_it_can_change_and_nothing_else() {
    for change in CHANGES {
        let small = Small::new();
        (change.make)(&small);
        let planned = small.plan(change.more);
        let record = small.run_with(change.more, change.env);
        let expected: BTreeSet<&str> = change.runs.iter().copied().collect();
        assert_eq!(ran(&record), expected, "{}\n{planned}", change.name);
        let again = small.run_with(change.more, change.env);
        assert_eq!(ran(&again), BTreeSet::new(), "{}, again", change.name);
    }
}

#[test]
fn a_variable_of_the_environment_counts_where_the_pipeline_names_it() {
    let small = Small::new();
    let again = small
        .0
        .towline_with(&["run", "p.yaml"], &[("UNRELATED", "1"), ("CLICKED", "1")]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(ran(&small.record()), BTreeSet::new());
    let plan = small.0.towline_with(&["plan", "p.yaml"], &[("CLICKED", "0")]);
    assert!(
        stdout(&plan).contains("with.where: \"clicked = 1\" -> \"clicked = 0\""),
        "{}",
        stdout(&plan)
    );
    small.0.towline_with(&["run", "p.yaml"], &[("CLICKED", "0")]);
    assert!(ran(&small.record()).contains("clicks"));
}

#[test]
fn plan_says_what_changed_from_what_to_what() {
    let small = Small::new();
    small.rewrite("min_count=1", "min_count=3");
    assert!(
        small.plan(&[]).contains("with.min_count: 1 -> 3"),
        "{}",
        small.plan(&[])
    );

    let small = Small::new();
    small.0.write("events.csv", &format!("{CSV}4,12,b,1\n"));
    let plan = small.plan(&[]);
    assert!(plan.contains("events.csv: 67 bytes -> 76 bytes"), "{plan}");
    small.run(&[]);
    small.rewrite(
        "DISTINCT user FROM c ORDER BY user",
        "DISTINCT item FROM c ORDER BY item",
    );
    fs::write(small.0.path().join("events.csv"), CSV).expect("it can be written");
    let plan = small.plan(&[]);
    assert!(plan.contains("clicks: 5 rows -> 4 rows"), "{plan}");
    assert!(plan.contains("with.query"), "{plan}");

    let fresh = Workspace::new();
    fresh.write("events.csv", CSV);
    fresh.write("p.yaml", PIPELINE);
    let plan = stdout(&fresh.towline(&["plan", "p.yaml"]));
    assert!(plan.contains("never ran"), "{plan}");
    assert!(
        plan.contains("fused into clicks") || plan.contains("fused into all"),
        "{plan}"
    );
    assert!(plan.contains("stored: the task file reads it"), "{plan}");
}

#[test]
fn a_chain_of_cheap_steps_writes_nothing() {
    let small = Small::new();
    let record = small.record();
    let status = |name: &str| {
        record
            .nodes
            .iter()
            .find(|node| node.name == name)
            .map(|node| node.status)
    };
    assert_eq!(status("events"), Some(NodeStatus::Fused), "one filter reads it");
    assert_eq!(status("clicks"), Some(NodeStatus::Ran));
}

#[test]
fn the_sink_knows_that_another_configuration_published_over_it() {
    let small = Small::new();
    let published = || fs::read(small.0.path().join("people/train.parquet")).expect("it was published");
    let first = published();
    small.run(&[
        "--set",
        "nodes.people.with.query=SELECT DISTINCT user + 1 AS user FROM c ORDER BY user",
    ]);
    let other = published();
    assert_ne!(first, other);
    let back = small.run(&[]);
    assert_eq!(
        ran(&back),
        BTreeSet::from(["people_file"]),
        "the rows are in the store, the file has others"
    );
    assert_eq!(published(), first);
}

#[test]
fn a_published_file_that_somebody_changed_is_published_again() {
    let small = Small::new();
    let path = small.0.path().join("people/train.parquet");
    let bytes = fs::read(&path).expect("it was published");
    let mut changed = bytes.clone();
    changed[10] ^= 1;
    fs::write(&path, changed).expect("it can be written");
    assert_eq!(ran(&small.run(&[])), BTreeSet::from(["people_file"]));
    assert_eq!(fs::read(&path).expect("it is there"), bytes);
}

#[test]
fn what_a_sink_published_before_is_not_mixed_with_what_it_publishes_now() {
    let small = Small::new();
    let split = "path: events.csv, split: { fraction: { train: 0.5, valid: 0.5 }, seed: 1 }";
    small.rewrite("path: events.csv", split);
    small.run(&[]);
    let files = || {
        let names = fs::read_dir(small.0.path().join("out")).expect("it was published");
        names
            .map(|file| file.expect("a file").file_name())
            .collect::<BTreeSet<_>>()
    };
    let both: BTreeSet<_> = ["train.parquet", "valid.parquet"].map(Into::into).into();
    assert_eq!(files(), both);
    small.0.write("out/mine.txt", "not the pipeline's");
    small.rewrite(split, "path: events.csv");
    small.run(&[]);
    let one: BTreeSet<_> = ["train.parquet", "mine.txt"].map(Into::into).into();
    assert_eq!(
        files(),
        one,
        "a split that is gone leaves no file, and what is not ours stays"
    );
}

#[test]
fn the_names_of_tables_are_part_of_a_query_and_of_nothing_else() {
    let workspace = Workspace::new();
    workspace.write("one.csv", "x\n1\n");
    workspace.write("two.csv", "x\n2\n");
    let pipeline = |a: &str, b: &str| {
        format!(
            "version: 1\nname: names\nnodes:\n  {a}: {{ op: CsvSource, with: {{ path: one.csv }} }}\n  {b}: {{ op: CsvSource, with: {{ path: two.csv }} }}\n  sum: {{ op: Sql, inputs: [{a}, {b}], with: {{ query: \"SELECT 10 * a.x + b.x AS y FROM a, b\" }} }}\n"
        )
    };
    let value = || stdout(&workspace.towline(&["show", "p.yaml", "sum"]));
    workspace.write("p.yaml", &pipeline("a", "b"));
    assert_eq!(workspace.towline(&["run", "p.yaml"]).status.code(), Some(0));
    assert!(value().contains("12"), "{}", value());
    workspace.write("p.yaml", &pipeline("b", "a"));
    assert_eq!(workspace.towline(&["run", "p.yaml"]).status.code(), Some(0));
    assert!(
        value().contains("21"),
        "the same files in the same order under other names: {}",
        value()
    );
}

#[test]
fn diff_tells_what_changed_between_two_runs() {
    let small = Small::new();
    let nothing = stdout(&{
        small.run(&[]);
        small.0.towline(&["diff"])
    });
    assert!(nothing.contains("nothing changed"), "{nothing}");
    small.rewrite("min_count=1", "min_count=3");
    fs::write(small.0.path().join("events.csv"), format!("{CSV}4,12,b,1\n")).expect("it can be written");
    small.run(&[]);
    let diff = stdout(&small.0.towline(&["diff", "last~1", "last"]));
    for expected in [
        "with.min_count: 1 -> 3",
        "input: events.csv changed",
        "rows: 4 -> 5",
        "published: 4 -> 5 records",
    ] {
        assert!(diff.contains(expected), "{expected}\n{diff}");
    }
    let wrong = small.0.towline(&["diff", "last~9", "last"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("the store has 3 runs"), "{}", stderr(&wrong));
}

#[test]
fn history_lists_the_runs_and_the_record_says_what_they_were() {
    let small = Small::new();
    small.run(&[]);
    let history = stdout(&small.0.towline(&["history"]));
    assert_eq!(history.lines().count(), 3, "{history}");
    let records = small.0.records();
    let file = records[1]
        .nodes
        .iter()
        .find(|node| node.name == "file")
        .expect("it is there");
    assert_eq!(file.status, NodeStatus::Reused);
    assert_eq!(file.with["path"], "out");
    assert_eq!(file.receipt.as_ref().map(|receipt| receipt.records), Some(4));
    let events = records[1]
        .nodes
        .iter()
        .find(|node| node.name == "events")
        .expect("it is there");
    assert_eq!(events.inputs[0].0, "events.csv");
    assert_eq!(events.inputs[0].1.len(), 64, "a BLAKE3 digest");
    assert!(records[0].id < records[1].id);
}
