package mysql

import (
	"context"
	"fmt"
)

// States of a restored range.
const (
	rangeLoading   = "loading"
	rangeReady     = "ready"
	rangeReleasing = "releasing"
)

// maxRestoredRanges bounds how many ranges are brought back at a time.
const maxRestoredRanges = 100

// RestoredRange is a range that was or is being brought back from cold storage.
type RestoredRange struct {
	ID         uint64
	Resolution string
	From, To   int64 // minutes
	State      string
}

func readRestored(ctx context.Context, from selector) ([]RestoredRange, error) {
	var all []RestoredRange
	text := "SELECT id, resolution, " + inMinutes("range_start") + " AS `from`, " + inMinutes("range_end") + " AS `to`, state FROM restored_ranges ORDER BY resolution, range_start"
	if err := from.SelectContext(ctx, &all, text); err != nil {
		return nil, fmt.Errorf("read restored ranges: %w", meaning(err))
	}
	return all, nil
}
