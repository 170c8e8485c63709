package ingest

// number is a JSON number as far as it matters here.
type number struct {
	value    int64
	whole    bool // written without fraction and exponent
	overflow bool // whole, but beyond int64
	text     []byte
}

// number reads the number at s.at, which is a digit or a minus sign.
func (s *scanner) number() (number, error) {
	start, i := s.at, s.at
	negative := s.data[i] == '-'
	if negative {
		i++
	}
	n := number{whole: true}
	digits := i
	var magnitude uint64
	for ; i < len(s.data) && s.data[i]-'0' <= 9; i++ {
		if i-digits >= 18 {
			n.overflow = true
			continue
		}
		magnitude = magnitude*10 + uint64(s.data[i]-'0')
	}
	if i == digits {
		s.at = i
		return n, s.unexpected("a digit")
	}
	if s.data[digits] == '0' && i > digits+1 {
		return n, s.fail(digits+1, "a digit after a leading zero")
	}
	n.value = int64(magnitude)
	if negative {
		n.value = -n.value
	}
	s.at = i
	if i < len(s.data) && (s.data[i] == '.' || s.data[i]|0x20 == 'e') {
		n.whole = false
		if err := s.fraction(); err != nil {
			return n, err
		}
	}
	n.text = s.data[start:s.at]
	return n, nil
}

func (s *scanner) fraction() error {
	if s.data[s.at] == '.' {
		s.at++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if s.at < len(s.data) && s.data[s.at]|0x20 == 'e' {
		s.at++
		if s.at < len(s.data) && (s.data[s.at] == '+' || s.data[s.at] == '-') {
			s.at++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) digits() error {
	start := s.at
	for s.at < len(s.data) && s.data[s.at]-'0' <= 9 {
		s.at++
	}
	if s.at == start {
		return s.unexpected("a digit")
	}
	return nil
}
