//! Every kind of diagnostic there is, under the name that people search for, silence or link to.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)+) => {
        /// The code of a diagnostic; the names are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])* $variant,)+
        }

        impl Code {
            /// Every code, in the order of this file.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The kebab-case name shown to people and written to machine formats.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The meaning, in one or two sentences.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),*).trim_start(),)+
                }
            }

            /// Its page: the cause, a pipeline that fails with it, and the same without the mistake.
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../../../docs/codes/", $name, ".md")),)+
                }
            }

            /// The code of this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == name)
            }
        }
    };
}

codes! {
    /// The file is not YAML that can be read, or uses a part of YAML that pipelines don't.
    BadYaml = "bad-yaml",
    /// One mapping holds the same key twice.
    DuplicateKey = "duplicate-key",
    /// A mapping holds a key that has no meaning there.
    UnknownKey = "unknown-key",
    /// No operator is registered under this name.
    UnknownOperator = "unknown-operator",
    /// A value is of another kind than its key needs.
    WrongType = "wrong-type",
    /// A key or parameter is written under a deprecated name.
    DeprecatedName = "deprecated-name",
    /// A required key is absent.
    MissingKey = "missing-key",
    /// A value is of the right kind but outside what its key allows.
    OutOfRange = "out-of-range",
    /// Two keys exclude each other.
    Conflict = "conflict",
    /// A key stands before another one that it depends on.
    KeyOrder = "key-order",
    /// An interpolation names something that is not defined.
    UndefinedVariable = "undefined-variable",
    /// An environment variable without a default is not set.
    UnsetEnv = "unset-env",
    /// A reference names a node that doesn't exist.
    UnknownNode = "unknown-node",
    /// A node is computed and nobody reads it.
    UnusedNode = "unused-node",
    /// A name has characters that names can't have.
    BadName = "bad-name",
    /// A chain expression doesn't follow the grammar.
    BadChain = "bad-chain",
    /// Nodes, variables or files form a cycle.
    Cycle = "cycle",
    /// A column is named that its input doesn't have.
    UnknownColumn = "unknown-column",
    /// A column is named without its table, and more than one has it.
    AmbiguousColumn = "ambiguous-column",
    /// A tag is named that doesn't exist.
    UnknownTag = "unknown-tag",
    /// Two columns of one table would have the same name.
    DuplicateColumn = "duplicate-column",
    /// Tables are joined by position that don't descend from the same rows.
    UnrelatedRows = "unrelated-rows",
    /// A column would carry two tags that contradict each other.
    TagConflict = "tag-conflict",
    /// A split is named that the dataset doesn't have.
    UnknownSplit = "unknown-split",
    /// An expectation doesn't follow the grammar.
    BadExpectation = "bad-expectation",
    /// An expectation names a metric that the operator doesn't leave behind.
    UnknownMetric = "unknown-metric",
    /// An expectation calls a function that doesn't exist.
    UnknownFunction = "unknown-function",
    /// A piece of SQL can't be parsed or planned.
    BadSql = "bad-sql",
    /// A file that is included can't be read.
    BadInclude = "bad-include",
    /// A data source can't be opened or understood.
    BadSource = "bad-source",
    /// An operator gets the wrong ports, or the wrong kind of artifact on a port.
    BadInput = "bad-input",
    /// An operator refuses its configuration as a whole.
    BadConfig = "bad-config",
    /// An index would measure nearness by something else than the model's score.
    IndexMetric = "index-metric",
    /// Two nodes write the same file, folder or keys.
    SameTarget = "same-target",
    /// A password, token or key stands in the file.
    PlainSecret = "plain-secret",
    /// A variable is defined and never used.
    UnusedVariable = "unused-variable",
    /// Aliases or variables multiply beyond any honest use.
    AliasBomb = "alias-bomb",
    /// Collections nest beyond the limit.
    TooDeep = "too-deep",
    /// The pipeline is written for a version of the format that this program doesn't read.
    UnsupportedVersion = "unsupported-version",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
