//! Intrusive FIFO lists: doubly linked by index through the records of a table.
//!
//! A record has one [`Link`] per *role* (in which sense it can be listed); a role is an empty type,
//! so a list of one role cannot be threaded through the links of another. A list owns nothing and
//! allocates nothing; every operation but [`List::iter`] is O(1). A record is in at most one list
//! of a role at a time, and the links say whether it is in one.

use core::fmt;
use core::marker::PhantomData;

/// No index: the end of a list, or nothing at all.
pub(crate) const NIL: u32 = u32::MAX;

/// What both ends of a link hold while the record is in no list of the role.
const UNLINKED: u32 = u32::MAX - 1;

/// A record's place in a list of one role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    prev: u32,
    next: u32,
}

impl Link {
    /// The link of a record that is in no list.
    pub(crate) const UNLINKED: Self = Self {
        prev: UNLINKED,
        next: UNLINKED,
    };

    /// Whether the record is in a list of the role.
    pub(crate) const fn is_linked(&self) -> bool {
        self.next != UNLINKED
    }
}

/// A record that can be in a list of role `R`.
pub(crate) trait Linked<R> {
    /// Its place.
    fn link(&self) -> &Link;
    /// Its place, to be changed by [`List`] only.
    fn link_mut(&mut self) -> &mut Link;
}

/// Implements [`Linked`] for a field: `linked!(Record, Role, field)`.
macro_rules! linked {
    ($record:ty, $role:ty, $field:ident) => {
        impl $crate::list::Linked<$role> for $record {
            #[inline]
            fn link(&self) -> &$crate::list::Link {
                &self.$field
            }
            #[inline]
            fn link_mut(&mut self) -> &mut $crate::list::Link {
                &mut self.$field
            }
        }
    };
}
pub(crate) use linked;

/// First and last record of a list of role `R`.
pub(crate) struct List<R> {
    head: u32,
    tail: u32,
    role: PhantomData<fn() -> R>,
}

impl<R> List<R> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self {
            head: NIL,
            tail: NIL,
            role: PhantomData,
        }
    }

    /// Whether nothing is in it.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// The first record.
    #[inline]
    pub(crate) const fn front(&self) -> Option<u32> {
        if self.head == NIL {
            None
        } else {
            Some(self.head)
        }
    }

    /// The last record.
    #[inline]
    pub(crate) const fn back(&self) -> Option<u32> {
        if self.tail == NIL {
            None
        } else {
            Some(self.tail)
        }
    }

    /// Whether this is the last record.
    #[inline]
    pub(crate) const fn is_last(&self, index: u32) -> bool {
        self.tail == index
    }

    /// Whether `index` is the first or the last record of this list.
    #[inline]
    pub(crate) const fn is_end(&self, index: u32) -> bool {
        self.head == index || self.tail == index
    }

    /// The record before `index`, which is in this list.
    pub(crate) fn before<T: Linked<R>>(&self, nodes: &[T], index: u32) -> Option<u32> {
        let prev = nodes[index as usize].link().prev;
        debug_assert!(prev != UNLINKED, "record {index} is in no list of the role");
        (prev != NIL).then_some(prev)
    }

    /// The record after `index`, which is in this list.
    pub(crate) fn after<T: Linked<R>>(&self, nodes: &[T], index: u32) -> Option<u32> {
        let next = nodes[index as usize].link().next;
        debug_assert!(next != UNLINKED, "record {index} is in no list of the role");
        (next != NIL).then_some(next)
    }

    /// Appends a record that is in no list of the role.
    #[inline]
    pub(crate) fn push_back<T: Linked<R>>(&mut self, nodes: &mut [T], index: u32) {
        let link = nodes[index as usize].link_mut();
        debug_assert!(!link.is_linked(), "record {index} is in a list already");
        *link = Link {
            prev: self.tail,
            next: NIL,
        };
        if self.tail == NIL {
            self.head = index;
        } else {
            nodes[self.tail as usize].link_mut().next = index;
        }
        self.tail = index;
    }

    /// Puts a record that is in no list of the role before all others.
    pub(crate) fn push_front<T: Linked<R>>(&mut self, nodes: &mut [T], index: u32) {
        let link = nodes[index as usize].link_mut();
        debug_assert!(!link.is_linked(), "record {index} is in a list already");
        *link = Link {
            prev: NIL,
            next: self.head,
        };
        if self.head == NIL {
            self.tail = index;
        } else {
            nodes[self.head as usize].link_mut().prev = index;
        }
        self.head = index;
    }

    /// Takes the first record out.
    #[inline]
    pub(crate) fn pop_front<T: Linked<R>>(&mut self, nodes: &mut [T]) -> Option<u32> {
        let index = self.front()?;
        self.remove(nodes, index);
        Some(index)
    }

    /// Takes out a record of this list.
    #[inline]
    pub(crate) fn remove<T: Linked<R>>(&mut self, nodes: &mut [T], index: u32) {
        let link = nodes[index as usize].link_mut();
        debug_assert!(link.is_linked(), "record {index} is in no list of the role");
        let Link { prev, next } = core::mem::replace(link, Link::UNLINKED);
        if prev == NIL {
            debug_assert_eq!(self.head, index, "record {index} is in another list");
            self.head = next;
        } else {
            nodes[prev as usize].link_mut().next = next;
        }
        if next == NIL {
            debug_assert_eq!(self.tail, index, "record {index} is in another list");
            self.tail = prev;
        } else {
            nodes[next as usize].link_mut().prev = prev;
        }
    }

    /// Moves all of `other` before what is here, in order.
    pub(crate) fn prepend<T: Linked<R>>(&mut self, nodes: &mut [T], other: &mut Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.tail = other.tail;
        } else {
            nodes[other.tail as usize].link_mut().next = self.head;
            nodes[self.head as usize].link_mut().prev = other.tail;
        }
        self.head = other.head;
        *other = Self::new();
    }

    /// All records, first to last.
    pub(crate) fn iter<'a, T: Linked<R>>(&self, nodes: &'a [T]) -> impl Iterator<Item = u32> + 'a {
        core::iter::successors(self.front(), move |at| {
            let next = nodes[*at as usize].link().next;
            (next != NIL).then_some(next)
        })
    }
}

// Not derived: a derive would ask the same of `R`, which is never instantiated.
impl<R> Clone for List<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for List<R> {}

impl<R> fmt::Debug for List<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.front() {
            None => f.write_str("[]"),
            Some(head) => write!(f, "[{head}..{}]", self.tail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    struct Role;
    struct Node {
        link: Link,
    }
    linked!(Node, Role, link);

    const NODES: u32 = 8;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Back(u32),
        Front(u32),
        Pop,
        Remove(u32),
        Prepend,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..NODES).prop_map(Op::Back),
            (0..NODES).prop_map(Op::Front),
            Just(Op::Pop),
            (0..NODES).prop_map(Op::Remove),
            Just(Op::Prepend),
        ]
    }

    /// Two lists over the same nodes; the second collects what is popped and is prepended back.
    struct Pair {
        nodes: Vec<Node>,
        lists: [List<Role>; 2],
        models: [VecDeque<u32>; 2],
    }

    impl Pair {
        fn apply(&mut self, op: Op) {
            let [first, second] = &mut self.lists;
            let [model, popped] = &mut self.models;
            let nodes = &mut self.nodes;
            match op {
                Op::Back(i) if !nodes[i as usize].link.is_linked() => {
                    first.push_back(nodes, i);
                    model.push_back(i);
                }
                Op::Front(i) if !nodes[i as usize].link.is_linked() => {
                    first.push_front(nodes, i);
                    model.push_front(i);
                }
                Op::Pop => {
                    let got = first.pop_front(nodes);
                    assert_eq!(got, model.pop_front());
                    if let Some(i) = got {
                        second.push_back(nodes, i);
                        popped.push_back(i);
                    }
                }
                Op::Remove(i) if model.contains(&i) => {
                    first.remove(nodes, i);
                    model.retain(|at| *at != i);
                }
                Op::Prepend => {
                    first.prepend(nodes, second);
                    while let Some(i) = popped.pop_back() {
                        model.push_front(i);
                    }
                }
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_deque(ops in proptest::collection::vec(op(), 0..64)) {
            let mut pair = Pair {
                nodes: (0..NODES).map(|_| Node { link: Link::UNLINKED }).collect(),
                lists: [List::new(); 2],
                models: [VecDeque::new(), VecDeque::new()],
            };
            for op in ops {
                pair.apply(op);
                for (list, model) in pair.lists.iter().zip(&pair.models) {
                    prop_assert!(list.iter(&pair.nodes).eq(model.iter().copied()));
                    prop_assert_eq!(list.is_empty(), model.is_empty());
                }
            }
        }
    }

    #[test]
    fn links_tell_membership() {
        let mut nodes = vec![
            Node {
                link: Link::UNLINKED,
            },
            Node {
                link: Link::UNLINKED,
            },
        ];
        let mut list = List::<Role>::new();
        list.push_back(&mut nodes, 1);
        assert!(nodes[1].link.is_linked());
        assert!(!nodes[0].link.is_linked());
        assert_eq!(list.pop_front(&mut nodes), Some(1));
        assert!(!nodes[1].link.is_linked());
    }
}
