//! The one way to run a model.

/// Checks `body` under every interleaving, and that there were at least `iterations_min` of them.
///
/// A floor under the count catches a model that has become trivial: one that no longer reaches the
/// code it is about, or whose atomics are not loom's. Set it somewhat below what the model needs.
///
/// Preemptions are bounded by 2, or by `LOOM_MAX_PREEMPTIONS` (a long run takes 3; below 2 the
/// floor does not hold). Limits in time or permutations are refused, because loom ends its search
/// there *as a pass*.
///
/// Without `cfg(loom)` the body runs once.
///
/// # Panics
/// The body fails in some interleaving, deadlocks in one or leaks in one; there were too few; or
/// the environment sets one of the refused limits.
#[cfg(loom)]
pub fn model<F>(name: &str, iterations_min: usize, body: F)
where
    F: Fn() + Send + Sync + 'static,
{
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    for limit in ["LOOM_MAX_DURATION", "LOOM_MAX_PERMUTATIONS"] {
        assert!(
            std::env::var_os(limit).is_none(),
            "{limit} would end the search as a pass"
        );
    }
    let mut checker = loom::model::Builder::new();
    let preemptions_max = checker.preemption_bound.unwrap_or(2);
    checker.preemption_bound = Some(preemptions_max);
    checker.max_branches = 10_000;

    let iterations = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&iterations);
    checker.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });

    let iterations = iterations.load(Ordering::Relaxed);
    println!("{name}: {iterations} iterations");
    let is_whole = preemptions_max >= 2 && std::env::var_os("TASKYARD_WEAKEN").is_none();
    assert!(
        !is_whole || iterations >= iterations_min,
        "{name} took {iterations} iterations, expected at least {iterations_min}"
    );
}

/// Runs `body` once.
///
/// # Panics
/// The body does.
#[cfg(not(loom))]
pub fn model<F>(name: &str, iterations_min: usize, body: F)
where
    F: Fn() + Send + Sync + 'static,
{
    assert!(
        iterations_min > 0,
        "{name} has no floor under its iterations"
    );
    body();
}
