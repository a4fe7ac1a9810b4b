//! Work on several threads.

use std::sync::Mutex;

/// Does `work` on every task, on at most `threads` threads. Which thread gets which task is left to chance: tasks must
/// not share anything that is written.
///
/// # Panics
/// If a task panics.
pub fn in_parallel<T: Send>(threads: usize, tasks: Vec<T>, work: impl Fn(T) + Sync) {
    let threads = threads.min(tasks.len());
    if threads <= 1 {
        tasks.into_iter().for_each(work);
        return;
    }
    let queue = Mutex::new(tasks.into_iter());
    let run = || {
        loop {
            let task = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
            match task {
                Some(task) => work(task),
                None => return,
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once() {
        for threads in [0, 1, 3, 20] {
            let mut done = vec![0; 10];
            in_parallel(threads, done.iter_mut().collect(), |place| *place += 1);
            assert_eq!(done, [1; 10]);
        }
    }
}
