package event_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/quipudb/quipu/event"
	"pgregory.net/rapid"
)

func TestSumEqualsBigIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sum, want := event.Sum{}, new(big.Int)
		for range rapid.IntRange(1, 20).Draw(t, "terms") {
			a := rapid.Int64().Draw(t, "a")
			b := rapid.Int64Range(-event.MaxWeight, event.MaxWeight).Draw(t, "b")
			sum = sum.Add(event.Product(a, b))
			want.Add(want, new(big.Int).Mul(big.NewInt(a), big.NewInt(b)))
		}
		if got := sum.String(); got != want.String() {
			t.Fatalf("got sum %s, want %s", got, want)
		}
		back, err := event.ParseSum(sum.String())
		if err != nil || back != sum {
			t.Fatalf("got %v, %v from parsing %s, want %v", back, err, sum, sum)
		}
	})
}

func TestProductAtTheEdges(t *testing.T) {
	for _, p := range [][2]int64{{math.MinInt64, math.MinInt64}, {math.MinInt64, math.MaxInt64}, {-1, math.MinInt64}, {0, math.MinInt64}, {math.MaxInt64, math.MaxInt64}} {
		want := new(big.Int).Mul(big.NewInt(p[0]), big.NewInt(p[1])).String()
		if got := event.Product(p[0], p[1]).String(); got != want {
			t.Errorf("product of %d and %d: got %s, want %s", p[0], p[1], got, want)
		}
	}
}

func TestParseSumRefusesWhatIsNoInteger(t *testing.T) {
	for _, text := range []string{"", "1.5", "x", "1e3", "170141183460469231731687303715884105728"} {
		if got, err := event.ParseSum(text); err == nil {
			t.Errorf("parse %q: got %v, want an error", text, got)
		}
	}
}
