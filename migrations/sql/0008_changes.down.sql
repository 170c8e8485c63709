-- Caches forget closed ranges as soon as open ones then.

DROP TABLE late_changes_told;
DROP TABLE late_changes;
