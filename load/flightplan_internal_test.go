package load

import (
	"testing"

	"github.com/quipudb/quipu/load/flights"
)

func TestPartsHoldEveryFlightOnce(t *testing.T) {
	sample, rest := samplePart(), restPart()
	for row := int64(-1); row <= flights.Rows; row++ {
		inSample := row >= flights.SampleFirstRow && row < flights.SampleFirstRow+flights.SampleRows
		if got := sample.of(row) != nil; got != inSample {
			t.Fatalf("row %d: got %v for the sample, want %v", row, got, inSample)
		}
		if want := !inSample && row >= 0 && row < flights.Rows; (rest.of(row) != nil) != want {
			t.Fatalf("row %d: got %v for the rest, want %v", row, !want, want)
		}
	}
}
