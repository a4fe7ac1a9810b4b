//! Searches a table of vectors in a file and says what it took: the measured half of `benches/top_k.py`.
//!
//! `top_k available`, or `top_k search ITEMS QUERIES DIM K PROPOSER THREADS LISTS`: files are of little-endian `f32`, the
//! ids of the lists are written as `u32`, K for each query. `top_k check ITEMS QUERIES DIM K LISTS` scores everything and
//! says how many queries have other lists. `top_k products ITEMS QUERIES DIM` makes every score in single precision and drops
//! it: less than that no search can take that scores everything so.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use towline_kernels::{Isa, ItemIndex, Proposer, Search, Strided, dot, gemm, in_parallel, transpose};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["available"] => {
            let available = Proposer::available();
            for name in Proposer::NAMES {
                println!("{name}\t{}", available.iter().any(|proposer| proposer.name() == name));
            }
            Ok(())
        }
        ["search", items, queries, dim, k, proposer, threads, lists] => {
            let found = Proposer::available().into_iter().find(|found| found.name() == proposer);
            let proposer = found.ok_or("this processor has no such instructions")?;
            search(
                items,
                queries,
                dim.parse()?,
                k.parse()?,
                proposer,
                threads.parse()?,
                lists,
            )
        }
        ["check", items, queries, dim, k, lists] => check(items, queries, dim.parse()?, k.parse()?, lists),
        ["products", items, queries, dim] => products(items, queries, dim.parse()?),
        _ => Err("usage: see the head of this file".into()),
    }
}

fn search(
    items: &str,
    queries: &str,
    dim: usize,
    k: usize,
    proposer: Proposer,
    threads: usize,
    lists: &str,
) -> Result<()> {
    let (items, queries) = (floats(items)?, floats(queries)?);
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let index = ItemIndex::new(proposer, items, dim, threads)?;
    let (built, built_cpu) = (start.elapsed(), cpu_seconds()? - cpu);
    let options = Search {
        threads,
        ..Search::best(k)
    };
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let found = index.search(&queries, &options)?;
    let (searched, searched_cpu) = (start.elapsed(), cpu_seconds()? - cpu);
    let proposed: u64 = found.proposed.iter().map(|count| u64::from(*count)).sum();
    println!(
        "{{\"build_cpu_ms\": {:.1}, \"build_wall_ms\": {:.1}, \"cpu_ms\": {:.1}, \"wall_ms\": {:.1}, \
         \"proposed_per_user\": {:.1}, \"most_proposed\": {}, \"peak_mb\": {:.1}}}",
        built_cpu * 1e3,
        built.as_secs_f64() * 1e3,
        searched_cpu * 1e3,
        searched.as_secs_f64() * 1e3,
        proposed as f64 / found.proposed.len().max(1) as f64,
        found.proposed.iter().max().unwrap_or(&0),
        peak_megabytes()?,
    );
    let rows = found.lists.iter().flatten();
    fs::write(lists, rows.flat_map(|hit| hit.row.to_le_bytes()).collect::<Vec<u8>>())?;
    Ok(())
}

fn products(items: &str, queries: &str, dim: usize) -> Result<()> {
    /// Items whose vectors stay in the second-level cache, and queries whose scores with them stay in the first.
    const ITEMS: usize = 512;
    const QUERIES: usize = 12;
    let (items, queries) = (floats(items)?, floats(queries)?);
    let mut scores = vec![0.0_f32; QUERIES * ITEMS];
    let mut transposed = vec![0.0; dim * ITEMS];
    let cpu = cpu_seconds()?;
    for items in items.chunks(ITEMS * dim) {
        let count = items.len() / dim;
        transpose(items, count, dim, &mut transposed, count);
        for queries in queries.chunks(QUERIES * dim) {
            let shape = (queries.len() / dim, dim, count);
            let left = Strided::rows(queries, dim);
            gemm(Isa::best(), shape, left, &transposed, count, &mut scores, count, false);
        }
    }
    println!("{:.1}", (cpu_seconds()? - cpu) * 1e3);
    std::hint::black_box(&scores);
    Ok(())
}

fn check(items: &str, queries: &str, dim: usize, k: usize, lists: &str) -> Result<()> {
    let (items, queries, lists) = (floats(items)?, floats(queries)?, fs::read(lists)?);
    let k = k.min(items.len() / dim);
    let (ids, _) = lists.as_chunks::<4>();
    if ids.len() != k * (queries.len() / dim) {
        return Err("the lists are not as long as they should be".into());
    }
    let different = AtomicUsize::new(0);
    let tasks: Vec<_> = queries.chunks(dim * 64).zip(ids.chunks(k * 64)).collect();
    let threads = std::thread::available_parallelism()?.get();
    in_parallel(threads, tasks, |(queries, ids)| {
        for (query, ids) in queries.chunks(dim).zip(ids.chunks(k)) {
            let scored = items.chunks(dim).map(|item| dot(query, item)).zip(0_u32..);
            let mut scored: Vec<(f32, u32)> = scored.collect();
            let better = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
            scored.select_nth_unstable_by(k - 1, better);
            scored.truncate(k);
            scored.sort_unstable_by(better);
            if !scored.iter().zip(ids).all(|((_, row), id)| row.to_le_bytes() == *id) {
                different.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    println!("{}", different.into_inner());
    Ok(())
}

/// Reads without a second copy: the peak of memory is one of the figures.
fn floats(path: &str) -> Result<Vec<f32>> {
    let mut file = fs::File::open(path)?;
    let count = usize::try_from(file.metadata()?.len())? / 4;
    let mut floats = Vec::with_capacity(count);
    let mut part = vec![0; 1 << 16];
    while floats.len() < count {
        let bytes = (4 * (count - floats.len())).min(part.len());
        file.read_exact(&mut part[..bytes])?;
        floats.extend(
            part[..bytes]
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes)),
        );
    }
    Ok(floats)
}

/// Processor time of all threads so far. Linux counts that of this thread in nanoseconds, that of finished ones in ticks
/// of 10 ms.
fn cpu_seconds() -> Result<f64> {
    let own = fs::read_to_string("/proc/thread-self/schedstat")?;
    let own = own.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9;
    let ticks = |path: &str| -> Result<f64> {
        let text = fs::read_to_string(path)?;
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        Ok(fields[11].parse::<f64>()? + fields[12].parse::<f64>()?)
    };
    let others = (ticks("/proc/self/stat")? - ticks("/proc/thread-self/stat")?) / 100.0;
    Ok(own + others.max(0.0))
}

fn peak_megabytes() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.ok_or("no peak is known")?.trim().trim_end_matches(" kB");
    Ok(kilobytes.parse::<f64>()? / 1024.0)
}
