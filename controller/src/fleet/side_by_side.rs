//! Work on several pairs at once.

use std::collections::BTreeMap;
use std::convert::Infallible;

use tokio::task::JoinSet;

/// Pairs that are asked at once: each has a list in a temporary file meanwhile, with some megabytes
/// of memory for it, and connections of its own.
pub const AT_ONCE: usize = 4;

/// Does all of it at once; what came of each, in its order.
///
/// # Panics
/// If one of them does.
pub async fn side_by_side<T, W>(work: impl IntoIterator<Item = W>) -> Vec<T>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    at_most(usize::MAX, work).await
}

/// The same, `most` at once.
///
/// # Panics
/// If one of them does.
pub async fn at_most<T, W>(most: usize, work: impl IntoIterator<Item = W>) -> Vec<T>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    let mut all = Vec::new();
    let keep = |one| {
        all.push(one);
        Ok::<(), Infallible>(())
    };
    let Ok(()) = in_order(most, work, keep).await;
    all
}

/// The same; what came of each is handed on in its order, as soon as it is there.
///
/// # Errors
/// The first of `hand_on`: what is not done then is left.
///
/// # Panics
/// If one of them does.
pub async fn in_order<T, W, E>(
    most: usize,
    work: impl IntoIterator<Item = W>,
    mut hand_on: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    let mut work = work.into_iter().enumerate();
    let mut tasks = JoinSet::new();
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    loop {
        while tasks.len() < most.max(1) {
            let Some((at, working)) = work.next() else {
                break;
            };
            tasks.spawn(async move { (at, working.await) });
        }
        match tasks.join_next().await {
            None => return Ok(()),
            Some(Ok((at, one))) => _ = waiting.insert(at, one),
            // A panic in there was printed; it is ours as well.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        }
        while let Some(one) = waiting.remove(&next) {
            hand_on(one)?;
            next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    async fn after(seconds: u64) -> u64 {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        seconds
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_of_each_is_in_the_order_in_which_it_was_begun() {
        assert_eq!(side_by_side([3, 1, 2].map(after)).await, [3, 1, 2]);
        assert_eq!(at_most(2, [3, 1, 2].map(after)).await, [3, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_at_work_than_may_be_and_each_is_handed_on_once_those_before_it_are() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = [1, 5, 1, 1, 1].map(|seconds| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                after(seconds).await;
                now.fetch_sub(1, Ordering::SeqCst);
                seconds
            }
        });
        let (begun, mut handed) = (tokio::time::Instant::now(), Vec::new());
        let done = in_order(2, work, |seconds| {
            handed.push((seconds, begun.elapsed().as_secs()));
            if handed.len() < 4 {
                Ok(())
            } else {
                Err("enough")
            }
        });
        assert_eq!(done.await, Err("enough"));
        assert_eq!(most.load(Ordering::SeqCst), 2);
        assert_eq!(handed, [(1, 1), (5, 5), (1, 5), (1, 5)]);
    }
}
