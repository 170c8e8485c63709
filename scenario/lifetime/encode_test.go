package lifetime_test

import (
	"strings"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
)

// encode is what ingest makes of accepted events of one partition.
func encode(events []event.Event) []byte {
	fingerprinter, err := event.NewFingerprinter(strings.Repeat("5a", 16))
	if err != nil {
		panic(err)
	}
	var b event.BatchBuilder
	for i := range events {
		e := &events[i]
		fingerprint := uint64(0)
		if e.ID != "" {
			fingerprint = fingerprinter.Fingerprint(e.Type, e.Key, e.ID)
		}
		b.Add(e, cluster.KeyHash(e.Type, e.Key), fingerprint)
	}
	return b.AppendTo(nil)
}
