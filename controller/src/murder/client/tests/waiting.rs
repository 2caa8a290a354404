//! A server that is away: before a run, and during one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;

use super::fake::{BANNER, Fake, Heard, settings};
use crate::login::{LinkError, Security};
use crate::murder::client::{Fault, Locator, Patience, Placed, connect_patiently};
use crate::stop::{Stop, stop_pair};

const SOON: Patience = Patience {
    tries: 3,
    pause: Duration::from_millis(10),
};

/// A port where nobody listens.
async fn nobody() -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn the_patience_is_that_of_a_frontend() {
    let Patience { tries, pause } = Patience::default();
    assert_eq!((tries, pause), (20, Duration::from_secs(20)));
}

#[tokio::test]
async fn a_master_that_is_away_before_a_run_is_69_after_all_tries_and_each_is_said() {
    let settings = settings(nobody().await, &Security::default());
    let (heard, (_handle, stop)) = (Heard::default(), stop_pair());
    let connected = connect_patiently(&settings, SOON, &heard, &stop).await;
    let error = connected.unwrap_err();
    assert!(
        matches!(*error.fault, Fault::Link(LinkError::Connect(_))),
        "{error}"
    );
    assert_eq!(error.exit(), Exit::Unavailable);
    let said = heard.0.into_inner();
    assert_eq!(said.len(), 2, "{said:?}");
    for (n, line) in said.iter().enumerate() {
        let begin = format!("say {}: cannot connect: ", settings.address);
        let end = format!("; this was try {} of 3, the next is in 10ms", n + 1);
        assert!(line.starts_with(&begin) && line.ends_with(&end), "{line}");
    }
}

#[tokio::test]
async fn a_master_that_comes_back_is_used_and_a_refusal_is_not_repeated() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let fake = Fake::start(move |mut end| {
        let n = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match n {
                0 => {}
                1 => end.log_in().await,
                _ => {
                    end.say(BANNER).await;
                    end.answer("TAG NO \"undefined error!\"\r\n").await;
                }
            }
        }
    })
    .await;
    let (heard, (_handle, stop)) = (Heard::default(), stop_pair());
    let settings = fake.settings();
    connect_patiently(&settings, SOON, &heard, &stop)
        .await
        .unwrap();
    let said = heard.0.lock().clone();
    let banner = ": mupdate.test, Cyrus IMAP 3.6.1 (master), in clear";
    assert!(said.len() == 2 && said[1].ends_with(banner), "{said:?}");
    let error = connect_patiently(&settings, SOON, &heard, &stop)
        .await
        .unwrap_err();
    assert_eq!(error.exit(), Exit::Denied);
    assert_eq!(tries.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn waiting_ends_when_the_run_is_stopped() {
    let settings = settings(nobody().await, &Security::default());
    let (heard, (handle, stop)) = (Heard::default(), stop_pair());
    let long = Patience {
        tries: 2,
        pause: Duration::from_secs(3600),
    };
    let waiting = connect_patiently(&settings, long, &heard, &stop);
    let stopping = async {
        while heard.0.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        handle.stop(Stop::Finish);
    };
    let (connected, ()) = tokio::join!(waiting, stopping);
    let error = connected.unwrap_err();
    assert!(matches!(*error.fault, Fault::Stopped), "{error}");
}

#[tokio::test]
async fn a_mailbox_that_moved_is_found_also_after_the_connection_was_closed() {
    let fake = Fake::start(|mut end| async move {
        end.log_in().await;
        end.answer(
            "TAG MAILBOX {8+}\r\nuser.joe {11+}\r\nbe2.test!p2 {0+}\r\n\r\n\
             TAG OK \"Search completed\"\r\n",
        )
        .await;
        // One answer a connection.
    })
    .await;
    let heard = Arc::new(Heard::default());
    let mut locator = Locator::new(fake.settings(), SOON, heard.clone());
    let joe = MailboxName::parse("user.joe").unwrap();
    for _ in 0..3 {
        let placed = locator.locate(&joe).await;
        let Some(Placed {
            location: Some(location),
            reserved: false,
        }) = placed
        else {
            panic!("{placed:?}");
        };
        assert_eq!(location.to_string(), "be2.test!p2");
    }
    assert!(heard.0.lock().is_empty());
}

#[tokio::test]
async fn a_master_that_is_away_during_a_run_is_warned_of_once_and_stops_nothing() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let fake = Fake::start(move |mut end| {
        let n = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            if n >= 2 {
                end.log_in().await;
                end.answer("TAG OK \"Search completed\"\r\n").await;
            }
        }
    })
    .await;
    let heard = Arc::new(Heard::default());
    let never = Patience {
        pause: Duration::from_secs(3600),
        ..SOON
    };
    let joe = MailboxName::parse("user.joe").unwrap();
    // Left alone for the pause: a thousand mailboxes are one try.
    let mut locator = Locator::new(fake.settings(), never, heard.clone());
    for _ in 0..1000 {
        assert_eq!(locator.locate(&joe).await, None);
    }
    assert_eq!(tries.load(Ordering::Relaxed), 1);
    let at_once = Patience {
        pause: Duration::ZERO,
        ..SOON
    };
    heard.0.lock().clear();
    let mut locator = Locator::new(fake.settings(), at_once, heard.clone());
    for _ in 0..3 {
        assert_eq!(locator.locate(&joe).await, None);
    }
    let said = heard.0.lock().clone();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("warn mupdate://127.0.0.1:"), "{said:?}");
    assert!(
        said[0].contains("; the run goes on, and a mailbox that moved"),
        "{said:?}"
    );
    assert!(said[1].ends_with(": it answers again"), "{said:?}");
}
