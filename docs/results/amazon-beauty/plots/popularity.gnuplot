set terminal svg size 720,360 dynamic noenhanced font 'sans-serif,13' background rgb 'white' name 'popularity'
set output 'popularity.svg.part'
set key outside right top samplen 1.5
set grid lc rgb '#dddddd'
$shares << END
"tenth" "train" "bpr_mf: positives-2" "lightgcn: positives-2"
1 0.453081 0.745517 0.745517
2 0.150810 0.104637 0.104637
3 0.096205 0.049725 0.049725
4 0.071331 0.027501 0.027501
5 0.057460 0.020368 0.020368
6 0.047413 0.014913 0.014913
7 0.039727 0.010061 0.010061
8 0.035604 0.011045 0.011045
9 0.029732 0.010844 0.010844
10 0.018637 0.005388 0.005388
END
set key above
set style data histograms
set style fill solid 0.8 noborder
set xlabel 'tenth of the items, most popular first'
set ylabel 'share of rows'
set yrange [0:]
plot for [i=2:4] $shares using i:xtic(1) title columnheader(i)
