//! Work on several pairs at once.

use tokio::task::JoinSet;

/// Does all of it at once; what came of each, in its order.
///
/// # Panics
/// If one of them does.
pub async fn side_by_side<T, W>(work: impl IntoIterator<Item = W>) -> Vec<T>
where
    T: Send + 'static,
    W: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (at, working) in work.into_iter().enumerate() {
        tasks.spawn(async move { (at, working.await) });
    }
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(one) => done.push(one),
            // A panic in there was printed; it is ours as well.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_came_of_each_is_in_the_order_in_which_it_was_begun() {
        let work = [3, 1, 2].map(|n| async move {
            tokio::time::sleep(Duration::from_secs(n)).await;
            n
        });
        assert_eq!(side_by_side(work).await, [3, 1, 2]);
    }
}
