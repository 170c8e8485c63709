package flights

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func compress(t *testing.T, plain string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll([]byte(plain), nil)
}

// lastError returns how many flights came before the sequence ended and with which error.
func lastError(compressed []byte) (flights int, err error) {
	for _, err := range readSample(compressed) {
		if err != nil {
			return flights, err
		}
		flights++
	}
	return flights, nil
}

func TestReadSampleNamesTheRowThatIsNoFlight(t *testing.T) {
	const header, good = "date,delay,distance,origin,destination\n", "2001-06-24 00:00,29,629,LAS,DEN\n"
	for name, line := range map[string]string{
		"date":        "2001-06-24,29,629,LAS,DEN\n",
		"delay":       "2001-06-24 00:00,,629,LAS,DEN\n",
		"distance":    "2001-06-24 00:00,29,far,LAS,DEN\n",
		"origin":      "2001-06-24 00:00,29,629,las,DEN\n",
		"destination": "2001-06-24 00:00,29,629,LAS,\n",
	} {
		n, err := lastError(compress(t, header+good+line+good))
		if n != 1 || !errors.Is(err, ErrFlight) || !strings.Contains(err.Error(), "row 2880453") || !strings.Contains(err.Error(), name) {
			t.Errorf("got %d flights and error %v, want 1 and an error that names row 2880453 and %s", n, err, name)
		}
	}
	if n, err := lastError(compress(t, header+good+"2001-06-24 00:00,29\n")); n != 1 || err == nil {
		t.Errorf("short line: got %d flights and error %v, want 1 and an error", n, err)
	}
}

func TestReadSampleNeverEndsEarlyInSilence(t *testing.T) {
	damaged := append([]byte(nil), sampleFlights...)
	damaged[len(damaged)/2] ^= 1
	for name, compressed := range map[string][]byte{
		"empty":    nil,
		"no rows":  compress(t, ""),
		"cut":      sampleFlights[:len(sampleFlights)/2],
		"damaged":  damaged,
		"not zstd": []byte("date,delay"),
	} {
		if n, err := lastError(compressed); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %d flights and error %v, want an error", name, n, err)
		}
	}
}
