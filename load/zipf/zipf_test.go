package zipf_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/quipudb/quipu/load/zipf"
)

func TestRanksComeAsOftenAsTheLawSays(t *testing.T) {
	for _, c := range []struct {
		n int
		s float64
	}{{1, 1}, {2, 0}, {10, 1.1}, {1000, 0.5}, {1000, 2}} {
		table, err := zipf.New(c.n, c.s)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for k := range c.n {
			sum += math.Pow(float64(k+1), -c.s)
		}
		const draws = 1_000_000
		got := make([]int, table.Ranks())
		random := rand.New(rand.NewPCG(1, uint64(c.n)))
		for range draws {
			got[table.Rank(random.Uint64())]++
		}
		for k := range got {
			p := math.Pow(float64(k+1), -c.s) / sum
			if want, deviation := p*draws, math.Sqrt(p*(1-p)*draws); math.Abs(float64(got[k])-want) > 5*deviation+1 {
				t.Errorf("%d ranks, exponent %v: rank %d came %d times, want %.0f ± %.0f", c.n, c.s, k, got[k], want, deviation)
			}
		}
	}
}

func TestNewRefusesBadSettings(t *testing.T) {
	for _, c := range []struct {
		n int
		s float64
	}{{0, 1}, {-1, 1}, {zipf.MaxRanks + 1, 1}, {10, -0.1}, {10, 21}, {10, math.NaN()}, {10, math.Inf(1)}} {
		if _, err := zipf.New(c.n, c.s); !errors.Is(err, zipf.ErrSettings) {
			t.Errorf("%d ranks, exponent %v: got %v, want ErrSettings", c.n, c.s, err)
		}
	}
}

func BenchmarkRank(b *testing.B) {
	table, err := zipf.New(1_000_000, 1.1)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	sum := 0
	for b.Loop() {
		sum += table.Rank(random.Uint64())
	}
	_ = sum
}
