-- Forgets the ranked lists. They are made anew after the next way up.

DROP TABLE ranked_bounds;
DROP TABLE ranked_marks;
DROP TABLE ranked_grown;
DROP TABLE ranked_counts;
