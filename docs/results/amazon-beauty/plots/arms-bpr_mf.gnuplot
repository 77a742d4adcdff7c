set terminal svg size 720,336 dynamic noenhanced font 'sans-serif,13' background rgb 'white' name 'arms_bpr_mf'
set output 'arms-bpr_mf.svg.part'
set key outside right top samplen 1.5
set grid lc rgb '#dddddd'
unset key
set title 'bpr_mf'
set xlabel 'ndcg@20 on test'
set yrange [5.5:-0.5]
set ytics ('original' 0, 'augmented' 1, 'control.random' 2, 'control.popularity' 3, 'control.itemknn' 4, 'control.self' 5)
plot '-' using 1:2:3 with xerrorbars pt 7 ps 0.8 lw 1.5 lc rgb '#1f5fa8'
0.0272023646 0 0.00238125909
0.0311128174 1 0.00142339557
0.0201046338 2 0.00200803366
0.0195427581 3 0.00144969977
0.0328594203 4 0.000838196079
0.0281445651 5 0.00308187722
e
