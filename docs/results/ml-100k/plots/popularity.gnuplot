set terminal svg size 720,360 dynamic noenhanced font 'sans-serif,13' background rgb 'white' name 'popularity'
set output 'popularity.svg.part'
set key outside right top samplen 1.5
set grid lc rgb '#dddddd'
$shares << END
"tenth" "train" "bpr_mf: positives-10" "lightgcn: exclude_from_negatives-10"
1 0.429883 0.758112 0.758112
2 0.218914 0.161718 0.161718
3 0.133304 0.047932 0.047932
4 0.088160 0.019830 0.019830
5 0.057507 0.008378 0.008378
6 0.035133 0.003393 0.003393
7 0.019763 0.000530 0.000530
8 0.010556 0.000106 0.000106
9 0.005123 0.000000 0.000000
10 0.001658 0.000000 0.000000
END
set key above
set style data histograms
set style fill solid 0.8 noborder
set xlabel 'tenth of the items, most popular first'
set ylabel 'share of rows'
set yrange [0:]
plot for [i=2:4] $shares using i:xtic(1) title columnheader(i)
