//! A pipeline that is run by a program: validated, planned, run, and its output read as Arrow record batches.
//! See `README.md` beside this file.

use towline::arrow::util::pretty::pretty_format_batches;
use towline::{Engine, RunOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variables: Vec<String> = std::env::args().skip(1).collect();
    let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
    let pipeline = Engine::new().open("examples/embed/pipeline.yaml", &variables)?;
    for diagnostic in pipeline.validate() {
        eprintln!("{}", diagnostic.message);
    }
    let plan = pipeline.plan(RunOptions::default())?;
    println!("{} of {} nodes would run", plan.would_run().len(), plan.nodes.len());

    let options = RunOptions::default();
    let events = options.events.receiver();
    let run = pipeline.run(options)?;
    println!(
        "{} events, recall@10 {:.3}",
        events.try_iter().count(),
        run.node("quality")?.metrics["recall_at_10"]
    );

    for (split, batches) in run.dataset("lists")? {
        let first: Vec<_> = batches
            .iter()
            .take(1)
            .map(|batch| batch.slice(0, batch.num_rows().min(3)))
            .collect();
        println!("{split}\n{}", pretty_format_batches(&first)?);
    }
    Ok(())
}
