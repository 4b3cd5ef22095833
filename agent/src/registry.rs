//! Things by id, some of which are still being made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::Id;

/// A table whose ids are taken before what they name exists.
pub(crate) struct Registry<T>(Mutex<HashMap<Id, Option<Arc<T>>>>);

/// An id that is taken. Given back when this is dropped without [`Self::fill`].
pub(crate) struct Reservation<'a, T> {
    registry: &'a Registry<T>,
    id: Option<Id>,
}

/// What an id stands for.
pub(crate) enum Entry<T> {
    Absent,
    /// Taken, but not made yet.
    Reserved,
    Present(Arc<T>),
}

impl<T> Registry<T> {
    /// Takes `id`; `None` when it is taken already.
    pub(crate) fn reserve(&self, id: &Id) -> Option<Reservation<'_, T>> {
        let mut table = self.table();
        if table.contains_key(id) {
            return None;
        }
        table.insert(id.clone(), None);
        Some(Reservation {
            registry: self,
            id: Some(id.clone()),
        })
    }

    pub(crate) fn get(&self, id: &Id) -> Entry<T> {
        match self.table().get(id) {
            None => Entry::Absent,
            Some(None) => Entry::Reserved,
            Some(Some(value)) => Entry::Present(Arc::clone(value)),
        }
    }

    pub(crate) fn remove(&self, id: &Id) {
        self.table().remove(id);
    }

    /// Everything that is made.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.table().values().flatten().cloned().collect()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Id, Option<Arc<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Reservation<'_, T> {
    /// Puts `value` in the place taken for it.
    pub(crate) fn fill(mut self, value: Arc<T>) {
        if let Some(id) = self.id.take() {
            self.registry.table().insert(id, Some(value));
        }
    }
}

impl<T> Drop for Reservation<'_, T> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.registry.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_once_and_given_back_on_failure() {
        let registry = Registry::<u8>::default();
        let id = Id::new("c1").unwrap();
        let reservation = registry.reserve(&id).unwrap();
        assert!(registry.reserve(&id).is_none());
        assert!(matches!(registry.get(&id), Entry::Reserved));
        drop(reservation);
        assert!(matches!(registry.get(&id), Entry::Absent));

        registry.reserve(&id).unwrap().fill(Arc::new(7));
        assert!(registry.reserve(&id).is_none());
        assert!(matches!(registry.get(&id), Entry::Present(value) if *value == 7));
        assert_eq!(registry.all().len(), 1);
    }
}
