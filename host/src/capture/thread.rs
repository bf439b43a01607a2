//! The thread of a source: with a runtime of its own, so that what reads a flood may let the thread itself sleep.

use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// Runs it to its end on a new thread. Dropped before, it ends it where it stands, and returns when the thread is gone.
///
/// # Errors
/// If the system gives no thread, or no runtime.
pub(super) async fn run(name: &str, work: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (wanted, unwanted) = oneshot::channel::<()>();
    let (done, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = work => {}
                _ = unwanted => {}
            }
        });
        drop(runtime);
        drop(done);
    })?;
    let _running = Running { wanted: Some(wanted), thread: Some(thread) };
    // Nothing is ever sent: it is over when the other end is gone.
    let _ = ended.await;
    Ok(())
}

struct Running {
    wanted: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.wanted.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the capture of a source ended by an error of its own; restart the server");
        }
    }
}
