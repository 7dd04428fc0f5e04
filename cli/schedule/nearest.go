package schedule

import "strings"

// nearest finds the word within an edit distance of limit (1 for words up to
// four letters), letter case aside, or "".
func nearest(text string, words []string, limit int) string {
	if len(text) <= 4 {
		limit = min(limit, 1)
	}
	text = strings.ToLower(text)
	best := ""
	for _, word := range words {
		if d := distance(text, strings.ToLower(word), limit); d <= limit {
			best, limit = word, d-1
		}
	}
	return best
}

// distance is the edit distance of two words, or more than limit.
func distance(a, b string, limit int) int {
	if max(len(a)-len(b), len(b)-len(a)) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
