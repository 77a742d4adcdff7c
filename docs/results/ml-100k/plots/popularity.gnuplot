set terminal svg size 480,360 dynamic noenhanced font 'sans-serif,14' background rgb 'white' name 'popularity'
set output 'popularity.svg.part'
set key tmargin left horizontal reverse Left width -4 samplen 1.5
set grid lc rgb '#dddddd'
$shares << END
"tenth" "train" "bpr_mf: positives-5" "lightgcn: exclude_from_negatives-10"
1 0.429883 0.890986 0.842312
2 0.218914 0.087805 0.125981
3 0.133304 0.016755 0.023648
4 0.088160 0.003393 0.006045
5 0.057507 0.001060 0.001485
6 0.035133 0.000000 0.000424
7 0.019763 0.000000 0.000106
8 0.010556 0.000000 0.000000
9 0.005123 0.000000 0.000000
10 0.001658 0.000000 0.000000
END
set style data histograms
set style fill solid 0.8 noborder
set xlabel 'tenth of the items, most popular first'
set ylabel 'share of rows'
set yrange [0:]
plot for [i=2:4] $shares using i:xtic(1) title columnheader(i)
