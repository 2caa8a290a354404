use super::*;

const ONE: Peer = Peer::User(1);
const TWO: Peer = Peer::User(2);

fn places(connections: u32, connections_peer: u32) -> Arc<Places> {
    offered(connections, connections_peer).1
}

/// The same, with what changes the limits.
fn offered(connections: u32, connections_peer: u32) -> (watch::Sender<Limits>, Arc<Places>) {
    let (offer, limits) = watch::channel(Limits {
        connections,
        connections_peer,
        transactions_peer: 2,
        ..Limits::default()
    });
    (offer, Places::new(limits))
}

fn left(place: &Place) -> bool {
    !place.works()
}

#[test]
fn who_never_spoke_leaves_first_then_who_is_nobodys_and_who_works_stays() {
    let all = places(3, 3);
    let (worker, idle) = (all.take(ONE).unwrap(), all.take(ONE).unwrap());
    assert!(worker.works());
    idle.rests(false);
    let silent = all.take(ONE).unwrap();
    let first = all.take(ONE).unwrap();
    assert!(left(&silent) && first.works());
    let second = all.take(TWO).unwrap();
    assert!(left(&idle) && second.works() && worker.works());
    // All are at work now.
    assert_eq!(all.take(TWO).unwrap_err(), Full::All);
    // A coordinator's rests for less than a second.
    first.rests(true);
    assert_eq!(all.take(TWO).unwrap_err(), Full::All);
    drop(second);
    assert!(all.take(TWO).is_ok());
}

#[test]
fn a_peer_has_its_share_and_sends_away_nobody_elses() {
    let all = places(4, 2);
    let others = [all.take(TWO).unwrap(), all.take(TWO).unwrap()];
    let own = [all.take(ONE).unwrap(), all.take(ONE).unwrap()];
    assert!(own.iter().all(Place::works));
    assert_eq!(all.take(ONE).unwrap_err(), Full::Peer);
    assert!(others.iter().all(Place::works));
    drop((own, others));
    assert!(all.inner.lock().peers.is_empty() && all.inner.lock().leaving == 0);
}

#[test]
fn mailboxes_that_a_peer_has_locked_are_counted_over_its_connections() {
    let all = places(4, 4);
    let mut own: Vec<Place> = (0..3).map(|_| all.take(ONE).unwrap()).collect();
    assert!(own[0].begin_transaction().is_ok() && own[1].begin_transaction().is_ok());
    assert!(
        own[2]
            .begin_transaction()
            .unwrap_err()
            .contains("all 2 mailboxes")
    );
    // Another LOCK on the same connection is no other transaction.
    assert!(own[1].begin_transaction().is_ok());
    assert!(all.take(TWO).unwrap().begin_transaction().is_ok());
    own[0].end_transaction();
    assert!(own[2].begin_transaction().is_ok());
    drop(own);
    assert!(all.inner.lock().peers.is_empty());
}

#[test]
fn mailboxes_that_a_peer_has_prepared_are_counted_apart_from_the_locked_ones() {
    let all = places(4, 4);
    let mut own: Vec<Place> = (0..3).map(|_| all.take(ONE).unwrap()).collect();
    for place in &mut own[..2] {
        assert!(place.begin_prepare().is_ok() && place.begin_transaction().is_ok());
        // Once more what it has already.
        assert!(place.begin_prepare().is_ok());
    }
    let refused = own[2].begin_prepare().unwrap_err();
    assert!(refused.contains("all 2 mailboxes"), "{refused}");
    assert!(refused.contains("prepared"), "{refused}");
    assert!(all.take(TWO).unwrap().begin_prepare().is_ok());
    own[0].end_prepared();
    assert!(own[2].begin_prepare().is_ok());
    drop(own);
    assert!(all.inner.lock().peers.is_empty());
}

#[test]
fn lower_limits_count_from_the_next_client_on_and_end_no_work() {
    let (offer, all) = offered(4, 4);
    let mut own: Vec<Place> = (0..4).map(|_| all.take(ONE).unwrap()).collect();
    assert!(own.iter().all(Place::works));
    offer.send_modify(|limits| limits.connections = 2);
    assert_eq!(all.take(TWO).unwrap_err(), Full::All);
    assert!(own.iter().all(Place::works));
    // Those that rest leave, until there are no more than there may be.
    for place in &own {
        place.rests(false);
    }
    let other = all.take(TWO).unwrap();
    assert_eq!(own.iter().filter(|place| left(place)).count(), 3);
    offer.send_modify(|limits| limits.connections = 3);
    let third = all.take(TWO).unwrap();
    assert!(other.works() && third.works());
    assert_eq!(all.take(TWO).unwrap_err(), Full::All);
    offer.send_modify(|limits| limits.transactions_peer = 1);
    own.clear();
    let mut both = [other, third];
    assert!(both[0].begin_transaction().is_ok());
    let refused = both[1].begin_transaction().unwrap_err();
    assert!(refused.contains("all 1 mailboxes"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_is_refused_after_a_bounded_wait() {
    let all = places(1, 1);
    let worker = all.take(ONE).unwrap();
    assert!(worker.works());
    let refused = all.enter(ONE, all.take(ONE)).await.unwrap_err();
    assert!(
        refused.contains("all 1 connections that one user"),
        "{refused}"
    );
    let refused = all.enter(TWO, all.take(TWO)).await.unwrap_err();
    assert!(
        refused.contains("all 1 connections that this slotd"),
        "{refused}"
    );
    assert_eq!(all.inner.lock().waiting, 0);
}

#[tokio::test]
async fn a_burst_waits_for_those_that_are_closing_and_is_not_refused_for_them() {
    let all = places(2, 2);
    let mut leavers = vec![all.take(ONE).unwrap(), all.take(ONE).unwrap()];
    for _ in 0..LEAVING {
        all.ready().await;
        leavers.push(all.take(ONE).unwrap());
    }
    assert_eq!(all.inner.lock().leaving, LEAVING);
    let soon = tokio::time::timeout(Duration::from_millis(20), all.ready()).await;
    assert!(soon.is_err(), "too many are closing");
    drop(leavers.remove(0));
    all.ready().await;
    assert!(all.take(ONE).is_ok());
}

#[test]
fn of_too_many_handshakes_the_oldest_leaves_and_none_that_is_over() {
    let most = u32::try_from(ARRIVING).unwrap() + 9;
    let all = places(most, most);
    let early = all.take(ONE).unwrap();
    early.arrives();
    early.arrived();
    let mut arriving = Vec::new();
    for _ in 0..ARRIVING {
        let place = all.take(ONE).unwrap();
        place.arrives();
        arriving.push(place);
    }
    assert!(!arriving.iter().any(left_unasked));
    let next = all.take(TWO).unwrap();
    next.arrives();
    assert!(left_unasked(&arriving[0]) && !left_unasked(&arriving[1]));
    assert!(!left_unasked(&next) && !left_unasked(&early));
    // One that is done makes room for another.
    arriving[1].arrived();
    let another = all.take(TWO).unwrap();
    another.arrives();
    assert!(!left_unasked(&arriving[2]));
}

/// Whether it was sent away, without a command of its own.
fn left_unasked(place: &Place) -> bool {
    place.all.inner.lock().seats[&place.id].leaves
}

#[test]
fn of_too_many_answers_that_nobody_reads_the_oldest_leaves_whatever_it_does() {
    let all = places(100, 100);
    let mut slow = Vec::new();
    for _ in 0..8 {
        let place = all.take(ONE).unwrap();
        assert!(place.works());
        place.answers(UNREAD / 8);
        slow.push(place);
    }
    assert!(!slow.iter().any(left_unasked));
    // What has been read counts no more.
    slow[3].answered();
    let (next, last) = (all.take(TWO).unwrap(), all.take(TWO).unwrap());
    next.answers(UNREAD / 8);
    assert!(!slow.iter().any(left_unasked));
    last.answers(UNREAD / 8 + 1);
    assert!(left_unasked(&slow[0]) && left_unasked(&slow[1]));
    assert!(!slow[2..].iter().chain([&next, &last]).any(left_unasked));
    drop((slow, next, last));
    assert_eq!(all.inner.lock().unread, 0);
}
