//! References that stand outside of nodes.

use towline_api::suggest;

use crate::config::chain;
use crate::config::chain::{Expr, Selector};
use crate::config::model::{Pipeline, Reference, Selection};
use crate::config::yaml::{Code, Diagnostic, Key, SourceMap};

impl Pipeline {
    /// The reference that a key is: `node`, `node.split`, `node[a, tag:user].split`.
    pub(crate) fn reference(&self, sources: &SourceMap, key: &Key) -> Result<Reference, Box<Diagnostic>> {
        let Expr::Reference(found) = chain::parse(sources, &key.value, key.span)? else {
            let diagnostic =
                Diagnostic::error(Code::BadChain, "expected a reference to a node, found a chain").at(key.span);
            return Err(Box::new(
                diagnostic.help("write `node`, `node.split` or `node[columns].split`"),
            ));
        };
        let Some(node) = self.find(&found.name.value) else {
            let names: Vec<&str> = self
                .nodes
                .iter()
                .filter(|node| !node.generated)
                .map(|node| node.name.as_str())
                .collect();
            let message = format!("there is no node `{}`", found.name.value);
            let help = suggest::sentence(&found.name.value, &names, "nodes");
            let diagnostic = Diagnostic::error(Code::UnknownNode, message).at(found.name.span);
            return Err(Box::new(diagnostic.label("unknown node").help(help)));
        };
        let selection = |selector| match selector {
            Selector::Column(name) => Selection::Column(name),
            Selector::Tag(name) => Selection::Tag(name),
        };
        Ok(Reference {
            node,
            columns: found
                .columns
                .map(|columns| columns.into_iter().map(selection).collect()),
            split: found.split,
            span: found.span,
        })
    }
}
